"""Technique 6: flights that somebody else changes while the session holds them."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

import sessionwise
from sessionwise.tour.chapter import Chapter, Scene
from sessionwise.tour.dataset import FIRST_DAY
from sessionwise.tour.model import Flight, Plane

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.orm import Session

    from sessionwise.tour.stage import Side


LATE = 60
"""Minutes by which somebody else delays flights."""


def refresh_all(session: Session, objects: Sequence[Any], names: list[str] | None = None) -> None:
    """Use ``session.refresh_many`` where there is one, and a loop of refreshes elsewhere."""
    if isinstance(session, sessionwise.Session):
        session.refresh_many(objects, names)
    else:
        for instance in objects:
            session.refresh(instance, names)


def snapshot(db: Side) -> Any:
    """Make a session that goes on reading the state it has read first, where that can be had."""
    session = db.session()
    if db.engine.dialect.name != "sqlite":
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    return session


@contextmanager
def listening() -> Iterator[list[warnings.WarningMessage]]:
    """Note the warnings of a block, and pass them on, so that the tour shows them."""
    with warnings.catch_warnings(record=True) as heard:
        yield heard
    for one in heard:
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def refresh_flights(db: Side) -> str:
    """Refresh 300 flights after a commit elsewhere."""
    with db.session(expire_on_commit=False) as session:
        query = select(Flight).order_by(Flight.id).limit(300)
        flights = session.scalars(query).all()
        session.commit()
        with db.session() as elsewhere:
            elsewhere.execute(update(Flight).values(dep_delay=LATE))
            elsewhere.commit()
        refresh_all(session, flights)
        late = [one for one in flights if one.dep_delay == LATE]
        return f"{len(late)} of {len(flights)} flights are late"


def refresh_collections(db: Side) -> str:
    """Read the flights of 50 planes anew."""
    with db.session() as session:
        query = select(Plane).order_by(Plane.tailnum).limit(50)
        planes = session.scalars(query).all()
        refresh_all(session, planes, ["flights"])
        flights = [one for plane in planes for one in plane.flights]
        return f"{len(flights)} flights of {len(planes)} planes"


def refresh_in_a_snapshot(db: Side) -> bool:
    """Refresh in a snapshot: get the new row, or hear that it is the old one."""
    with snapshot(db) as session, db.session() as elsewhere:
        flight = session.get_one(Flight, 1)
        elsewhere.get_one(Flight, 1).dep_delay = LATE
        elsewhere.commit()
        with listening() as heard:
            session.refresh(flight)
        return flight.dep_delay == LATE or len(heard) == 1


def touch_after_commit(db: Side) -> str:
    """Read the flights of a day, commit, and ask each for its plane."""
    with db.session(batch_loads=True) as session:
        query = select(Flight).where(Flight.day == FIRST_DAY)
        flights = session.scalars(query.order_by(Flight.id)).all()
        session.commit()
        planes = {flight.plane for flight in flights}
        return f"{len(planes)} planes of {len(flights)} flights"


CHAPTER = Chapter(
    number=6,
    title="refresh",
    promise=(
        "A refresh reads the newest rows, many of them by one statement, and an old row never "
        "passes for a new one."
    ),
    scenes=(
        Scene(
            code=refresh_flights,
            answers="300 of 300 flights are late",
            statements=3,
            note=(
                "refresh_all(session, flights) is session.refresh_many(flights) on sessionwise; "
                "plain SQLAlchemy has no such method, there it is a loop of session.refresh()."
            ),
        ),
        Scene(code=refresh_collections, answers="136 flights of 50 planes", statements=3),
        Scene(
            code=refresh_in_a_snapshot,
            answers=True,
            note=(
                "snapshot(db) asks for REPEATABLE READ, MariaDB's default. SQLite has no such "
                "level: there the refresh reads the new row."
            ),
        ),
        Scene(
            code=touch_after_commit,
            answers="530 planes of 676 flights",
            statements=7,
            note=(
                "batch_loads is an option of sessionwise, on by default in its Database: what is "
                "loaded for one object is loaded for those around it. Plain SQLAlchemy has no "
                "such option; there the session is made without it."
            ),
        ),
    ),
)

"""Technique 8: flights by their numbers, and planes by the tail numbers that flights have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

import sessionwise
from sessionwise.tour.chapter import Chapter, Scene
from sessionwise.tour.dataset import FIRST_DAY
from sessionwise.tour.model import Flight, Plane

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.orm import Session

    from sessionwise.tour.stage import Side


def get_all(session: Session, entity: type[Any], keys: Iterable[Any]) -> list[Any]:
    """Use ``session.get_many`` where there is one, and the guide's list of gets elsewhere."""
    if isinstance(session, sessionwise.Session):
        return session.get_many(entity, keys)
    return [session.get(entity, key) for key in keys]


def flights_by_number(db: Side) -> str:
    """Get 500 flights by their numbers."""
    with db.session() as session:
        flights = get_all(session, Flight, range(1, 501))
        in_order = [flight.id for flight in flights] == [*range(1, 501)]
        return f"{len(flights)} flights, in order: {in_order}"


def planes_of_a_day(db: Side) -> str:
    """Get the plane of each flight of a day by its tail number."""
    with db.session() as session:
        query = select(Flight.tailnum).where(Flight.day == FIRST_DAY)
        tailnums = session.scalars(query).all()
        planes = get_all(session, Plane, tailnums)
        return f"{len(set(planes))} planes for {len(tailnums)} flights"


def again_after_commit(db: Side) -> bool:
    """Get 500 flights, commit, and get them again: the same objects."""
    with db.session() as session:
        flights = get_all(session, Flight, range(1, 501))
        session.commit()
        return get_all(session, Flight, range(1, 501)) == flights


CHAPTER = Chapter(
    number=8,
    title="get",
    promise=(
        "Many objects by their keys cost one statement for 500, in the order asked, and what the "
        "session holds costs none."
    ),
    scenes=(
        Scene(
            code=flights_by_number,
            answers="500 flights, in order: True",
            statements=1,
            note=(
                "get_all(session, Flight, keys) is session.get_many(Flight, keys) on sessionwise; "
                "plain SQLAlchemy has no such method, there it is the guide's list of gets."
            ),
        ),
        Scene(code=planes_of_a_day, answers="530 planes for 676 flights", statements=3),
        Scene(code=again_after_commit, answers=True, statements=2),
    ),
)

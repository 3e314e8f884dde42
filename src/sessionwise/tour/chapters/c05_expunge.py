"""Technique 5: a plane and its flights, handed to code that no session is to listen to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm.exc import DetachedInstanceError

import sessionwise
from sessionwise.tour.chapter import Chapter, Scene
from sessionwise.tour.model import Flight, Plane

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from sessionwise.tour.stage import Side

SPOILT = 9999
"""A delay that no flight has."""


def hand_out(session: Session, plane: Plane, *paths: str) -> None:
    """Use ``session.detach`` where there is one; elsewhere load the paths, and expunge."""
    if isinstance(session, sessionwise.Session):
        session.detach(plane, *paths)
    else:
        for path in paths:
            getattr(plane, path)
        session.expunge(plane)


def spoilt_flights(connection: Connection) -> str:
    """Say how many flights somebody has spoilt."""
    count = connection.scalar(select(func.count()).where(Flight.dep_delay == SPOILT))
    return f"{count} spoilt flights"


def change_what_is_out(db: Side) -> None:
    """Hand a plane out with its flights, and store nothing of what is done to them."""
    with db.session() as session:
        plane = session.get_one(Plane, "N593JB")
        hand_out(session, plane, "flights")
        for flight in plane.flights:
            flight.dep_delay = SPOILT
        session.commit()


def read_after_commit(db: Side) -> str:
    """Commit, hand a plane out, and read it when the session is closed."""
    with db.session() as session:
        plane = session.get_one(Plane, "N593JB")
        session.commit()
        hand_out(session, plane)
    return f"{plane.manufacturer} {plane.model}"


def read_what_was_not_loaded(db: Side) -> str:
    """Read what was not loaded, and be told what to load."""
    with db.session() as session:
        plane = session.get_one(Plane, "N593JB")
        hand_out(session, plane, "flights")
    try:
        return str(plane.flights[0].airline.name)
    except DetachedInstanceError as error:
        told = re.search(r"session\.detach\(.*?\)", str(error))
        return told[0] if told else "not told"


CHAPTER = Chapter(
    number=5,
    title="expunge",
    promise=(
        "What is detached can be read for good, to change it writes nothing, and what was not "
        "loaded says how to load it."
    ),
    scenes=(
        Scene(
            code=change_what_is_out,
            look=spoilt_flights,
            stores="0 spoilt flights",
            note=(
                "hand_out(session, plane, path) is session.detach(plane, path) on sessionwise; "
                "plain SQLAlchemy has no such method, there it loads the path and calls the "
                "guide's session.expunge(plane), which leaves the flights in the session."
            ),
        ),
        Scene(code=read_after_commit, answers="AIRBUS A320-232"),
        Scene(
            code=read_what_was_not_loaded,
            answers="session.detach(..., 'flights.airline')",
            note="Both raise a DetachedInstanceError; the answer is what it says to do.",
        ),
    ),
)

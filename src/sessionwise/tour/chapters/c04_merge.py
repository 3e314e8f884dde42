"""Technique 4: flights that come from elsewhere, merged into what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

import sessionwise
from sessionwise.tour.chapter import Chapter, Scene
from sessionwise.tour.dataset import NEW_DAY, new_flights
from sessionwise.tour.model import Flight

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from sessionwise.tour.stage import Side


LATE = 999
"""A delay, in minutes, that no flight has."""


def merge_back(session: Session, instance: object) -> Any:
    """Merge three ways where that can be had, and as the guide does elsewhere."""
    if isinstance(session, sessionwise.Session):
        return session.merge(instance, conflicts="raise")
    return session.merge(instance)


def get_flight(db: Side) -> Any:
    """Read flight 1 in a session that ends."""
    with db.session() as session:
        return session.get_one(Flight, 1)


def merged_flights(connection: Connection) -> str:
    """Say how many flights are new, and how many are late."""
    new = connection.scalar(select(func.count()).where(Flight.day == NEW_DAY))
    late = connection.scalar(select(func.count()).where(Flight.dep_delay == LATE))
    return f"{new} new flights, {late} late ones"


def delays(connection: Connection) -> str:
    """Say what delays flight 1 has."""
    query = select(Flight.dep_delay, Flight.arr_delay).where(Flight.id == 1)
    departure, arrival = connection.execute(query).one()
    return f"departure {departure}, arrival {arrival}"


def merge_flights(db: Side) -> None:
    """Merge 500 flights of which half have no row."""
    late = [Flight(id=at, dep_delay=LATE) for at in range(1, 251)]
    with db.session() as session:
        session.merge_all([*late, *new_flights(250)])
        session.commit()


def edit_two_attributes(db: Side) -> None:
    """Two people edit two attributes of one flight, and both edits stay."""
    flight = get_flight(db)
    with db.session() as elsewhere:
        elsewhere.get_one(Flight, 1).arr_delay = 20
        elsewhere.commit()
    flight.dep_delay = 10
    with db.session() as session:
        merge_back(session, flight)
        session.commit()


def edit_one_attribute(db: Side) -> str:
    """Two people edit one attribute, and the second is told."""
    flight = get_flight(db)
    with db.session() as elsewhere:
        elsewhere.get_one(Flight, 1).dep_delay = 20
        elsewhere.commit()
    flight.dep_delay = 10
    with db.session() as session:
        try:
            merge_back(session, flight)
        except sessionwise.MergeConflictError as error:
            return told(error)
        session.commit()
    return "not told"


def told(error: sessionwise.MergeConflictError) -> str:
    """Say what an error tells about its one conflict."""
    (conflict,) = error.conflicts
    return f"base {conflict.base}, mine {conflict.mine}, theirs {conflict.theirs}"


CHAPTER = Chapter(
    number=4,
    title="merge",
    promise=(
        "Many objects merge for one SELECT for 500, and merging three ways loses nobody's update."
    ),
    scenes=(
        Scene(
            code=merge_flights,
            look=merged_flights,
            stores="250 new flights, 250 late ones",
            statements=3,
            note="One SELECT, one INSERT and one UPDATE; merge_all is SQLAlchemy's own method.",
        ),
        Scene(
            code=edit_two_attributes,
            look=delays,
            stores="departure 10, arrival 20",
            note=(
                "merge_back(session, flight) is session.merge(flight, conflicts='raise') on "
                "sessionwise; plain SQLAlchemy has no such option, there it is the guide's "
                "session.merge(flight), which writes every attribute that is loaded."
            ),
        ),
        Scene(
            code=edit_one_attribute,
            answers="base 2, mine 10, theirs 20",
            look=delays,
            stores="departure 20, arrival 11",
        ),
    ),
)

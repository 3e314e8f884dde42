"""Technique 9: looking things up while a thousand new flights wait to be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import selectinload

from sessionwise.tour.chapter import Chapter, Scene
from sessionwise.tour.dataset import FLIGHTS, NEW_DAY, new_flights, rows, stored_flights
from sessionwise.tour.model import Airline, Flight, Plane

if TYPE_CHECKING:
    from sessionwise.tour.stage import Side


def thousand_flights() -> list[Flight]:
    """Return a thousand flights of the new day that no session knows."""
    known = rows(FLIGHTS)[:1000]
    return [Flight(**{**row, "id": 10_000 + row["id"], "day": NEW_DAY}) for row in known]


def look_up_and_add(db: Side) -> None:
    """Add a thousand flights, each with a query for its plane."""
    with db.session(autoflush="related") as session:
        for flight in thousand_flights():
            query = select(Plane).where(Plane.tailnum == flight.tailnum)
            flight.plane = session.scalars(query).one()
            session.add(flight)
        session.commit()


def count_elsewhere(db: Side) -> int:
    """Count the planes while 20 flights are pending."""
    with db.session(autoflush="related") as session:
        session.add_all(new_flights(20))
        count = select(func.count(Plane.tailnum))
        return int(session.scalar(count))


def count_what_is_pending(db: Side) -> str:
    """Count the new flights after each that is added."""
    with db.session(autoflush="related") as session:
        count = select(func.count()).where(Flight.day == NEW_DAY)
        counts = []
        for flight in new_flights(20):
            session.add(flight)
            counts.append(session.scalar(count))
        return f"{counts[0]}, {counts[1]}, … {counts[-1]}"


def load_what_is_pending(db: Side) -> int:
    """Query an airline with its flights while others of its flights are pending."""
    with db.session(autoflush="related") as session:
        session.add_all(new_flights(20))
        query = select(Airline).where(Airline.carrier == "UA")
        query = query.options(selectinload(Airline.flights))
        return len(session.scalars(query).one().flights)


CHAPTER = Chapter(
    number=9,
    title="autoflush",
    promise=(
        "A query that cannot see what is pending flushes nothing, and one that can sees all of it."
    ),
    scenes=(
        Scene(
            code=look_up_and_add,
            look=stored_flights,
            stores="1000 new flights",
            statements=1001,
            note=(
                "autoflush='related' is an option of sessionwise; to plain SQLAlchemy it is the "
                "same as True. A large INSERT may be sent in several statements."
            ),
        ),
        Scene(code=count_elsewhere, answers=1459, statements=1),
        Scene(
            code=count_what_is_pending,
            answers="1, 2, … 20",
            statements=40,
            note="Here each query must flush: the guide's no_autoflush would count 0 each time.",
        ),
        Scene(code=load_what_is_pending, answers=621),
    ),
)

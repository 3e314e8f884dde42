"""Technique 10: what is in the session, asked the way the guide asks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from sessionwise.tour.chapter import Chapter, Scene
from sessionwise.tour.dataset import FIRST_DAY
from sessionwise.tour.model import Airline, Flight

if TYPE_CHECKING:
    from sessionwise.tour.stage import Side


def find_by_key(db: Side) -> bool:
    """Find a loaded flight by its class and key."""
    with db.session() as session:
        flight = session.get_one(Flight, 1)
        return (Flight, (flight.id,)) in session.identity_map


def find_many(db: Side) -> str:
    """Tell which flights are loaded, and send nothing for it."""
    with db.session() as session:
        query = select(Flight).where(Flight.day == FIRST_DAY)
        flights = session.scalars(query).all()
        loaded = session.identity_map
        found = [n for n in range(1, 1001) if (Flight, (n,)) in loaded]
        return f"{len(found)} of {len(flights)} flights"


def print_it(db: Side) -> str:
    """Print the map, and read in it what is loaded."""
    with db.session() as session:
        airline = session.get_one(Airline, "AA")
        return f"{airline.name}: {session.identity_map}"


CHAPTER = Chapter(
    number=10,
    title="identity_map",
    promise="The identity map answers to (class, key), and its print says what is loaded.",
    scenes=(
        Scene(code=find_by_key, answers=True),
        Scene(code=find_many, answers="676 of 676 flights"),
        Scene(
            code=print_it,
            answers="American Airlines Inc.: {(Airline, ('AA',)): <Airline carrier='AA'>}",
        ),
    ),
)

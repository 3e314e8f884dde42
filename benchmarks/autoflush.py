"""Autoflush: look 1,000 things up while adding 1,000 objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Engine, ForeignKey, String, insert, orm, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

import sessionwise
from benchmarks.harness import Result, compare

CASE = "autoflush"
PAIRS = 1_000
AIRPORTS = 100


class Base(DeclarativeBase):
    pass


class Airport(Base):
    __tablename__ = "benchmark_airport"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(4), unique=True)


class Visit(Base):
    __tablename__ = "benchmark_visit"
    id: Mapped[int] = mapped_column(primary_key=True)
    airport_id: Mapped[int] = mapped_column(ForeignKey("benchmark_airport.id"))
    airport: Mapped[Airport] = relationship()


def run(database: str, new_engine: Callable[[], Engine], rounds: int) -> Iterator[Result]:
    """Do the same with each mode; what is added is rolled back."""
    engine = new_engine()
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(Visit.__table__.delete())
        connection.execute(Airport.__table__.delete())
        airports = [{"id": at + 1, "code": f"A{at}"} for at in range(AIRPORTS)]
        connection.execute(insert(Airport.__table__), airports)
    own = new_engine()

    def contender(class_: Any, bind: Engine, mode: Any) -> Callable[[], None]:
        def work() -> None:
            with class_(bind, autoflush=mode) as session:
                _look_up_and_add(session)
                session.flush()
                session.rollback()

        return work

    timings = compare(
        {
            "SQLAlchemy, autoflush=False": contender(orm.Session, engine, False),
            "SQLAlchemy, autoflush=True": contender(orm.Session, engine, True),
            "sessionwise, autoflush=False": contender(sessionwise.Session, own, False),
            'autoflush="related"': contender(sessionwise.Session, own, "related"),
        },
        rounds=min(rounds, 15),
    )
    yield Result(CASE, database, f"{PAIRS:,} × (look up + add)", "≤ 1.1", timings)


def _look_up_and_add(session: orm.Session) -> None:
    for at in range(PAIRS):
        query = select(Airport).where(Airport.code == f"A{at % AIRPORTS}")
        session.add(Visit(airport=session.scalars(query).one()))

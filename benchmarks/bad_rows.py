"""Batch with bad rows: a savepoint for each row, ``each``, and rejects in bulk."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from sqlalchemy import Engine, String, insert, orm
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import sessionwise
from benchmarks.harness import Result, compare
from sessionwise import batch

CASE = "batch with bad rows"
TARGET = "≥ 30 × at 1 %"
ROWS = 2000
SHARES = (0, 0.1, 1, 10)
"""Per cent of rows whose name is taken."""


class Base(DeclarativeBase):
    pass


class Guest(Base):
    __tablename__ = "benchmark_guest"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)


def run(database: str, new_engine: Callable[[], Engine], rounds: int) -> Iterator[Result]:
    """Store 2,000 objects, some of which cannot be stored, and commit."""
    Base.metadata.create_all(new_engine())
    plain, own = new_engine(), new_engine()
    for share in SHARES:
        bad = set(random.Random(1).sample(range(ROWS), round(ROWS * share / 100)))
        timings = compare(
            {
                "savepoint per row": lambda bad=bad: _savepoint_per_row(plain, bad),
                "sessionwise each": lambda bad=bad: _each(own, bad),
                'bulk_insert, on_error="reject"': lambda bad=bad: _bulk(own, bad),
            },
            rounds=rounds,
        )
        unit = f"empty the table, store {ROWS:,} objects, commit"
        target = TARGET if share == 1 else ""
        yield Result(f"{CASE}, {share} %", database, unit, target, timings)


def _savepoint_per_row(engine: Engine, bad: set[int]) -> None:
    _empty(engine)
    rejected = 0
    with orm.Session(engine) as session:
        for guest in _guests(bad):
            try:
                with session.begin_nested():
                    session.add(guest)
            except IntegrityError:
                rejected += 1
        session.commit()
    assert rejected == len(bad)


def _each(engine: Engine, bad: set[int]) -> None:
    _empty(engine)
    with sessionwise.Session(engine) as session:
        result = batch.each(session, _guests(bad))
        session.commit()
    assert len(result.rejected) == len(bad)


def _bulk(engine: Engine, bad: set[int]) -> None:
    _empty(engine)
    rows = ({"name": _name(at, bad)} for at in range(ROWS))
    with sessionwise.Session(engine) as session:
        result = session.bulk_insert(Guest, rows, on_error="reject")
        session.commit()
    assert [one.position for one in result.rejected] == sorted(bad)


def _empty(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(Guest.__table__.delete())
        connection.execute(insert(Guest.__table__).values(name="taken"))


def _guests(bad: set[int]) -> list[Guest]:
    return [Guest(name=_name(at, bad)) for at in range(ROWS)]


def _name(at: int, bad: set[int]) -> str:
    return "taken" if at in bad else f"guest {at}"

"""Receipts: what it costs to know how a COMMIT ended whose reply is lost. PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlalchemy import Engine

import sessionwise
from benchmarks import dropin_cost
from benchmarks.dropin_cost import Base, Passenger
from benchmarks.harness import Result, compare

CASE = "receipts"
UNITS_PER_ROUND = 20


def run(database: str, new_engine: Callable[[], Engine], rounds: int) -> Iterator[Result]:
    """Commit the ordinary unit, and one small write, with receipts and without."""
    if database != "postgresql":
        return
    Base.metadata.create_all(new_engine())

    def contender(unit: Callable[[Engine, bool], None], receipts: bool) -> Callable[[], None]:
        engine = new_engine()

        def work() -> None:
            dropin_cost.fill(engine)
            for _ in range(UNITS_PER_ROUND):
                unit(engine, receipts)

        return work

    for name, unit, target in (
        ("receipts on, the ordinary unit", _ordinary, "≤ 1.10"),
        ("receipts on, a small write", _small, "≤ 1.25"),
    ):
        contenders = {
            "receipts off": contender(unit, False),
            "receipts on": contender(unit, True),
        }
        timings = compare(contenders, rounds=rounds)
        yield Result(name, database, f"{UNITS_PER_ROUND} units", target, timings)


def _ordinary(engine: Engine, receipts: bool) -> None:
    with sessionwise.Session(engine, receipts=receipts) as session:
        dropin_cost.unit(session, 1, savepoint=False)


def _small(engine: Engine, receipts: bool) -> None:
    with sessionwise.Session(engine, receipts=receipts) as session:
        session.add(Passenger(name="new", miles=0))
        session.commit()

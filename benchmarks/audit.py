"""Audit: what it costs to record who has changed what, beside other ways to record it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import URL, Engine, create_engine

from benchmarks.audit_contenders import CHANGED, CONTENDERS
from benchmarks.harness import Result, Timing

CASE = "audit"
UNIT_TARGET = "triggers ≤ 1.25, session ≤ 1.5"
STATEMENT_TARGET = "triggers ≤ 2.5, linear"

ROWS = {1_000: 7, 10_000: 7, 100_000: 2, 1_000_000: 1}
"""Rows that one statement changes, and the rounds at most: what a row costs should not change."""
TOO_SLOW = 50
"""How many times as long as without an audit: more rows are not waited for then."""

NEEDS = {
    "SQLAlchemy-Continuum": "sqlalchemy_continuum",
    "sqlalchemy-history": "sqlalchemy_history",
    "postgresql-audit": "postgresql_audit",
    "sqlalchemy-audit-trail": "audit_trail",
}
"""The packages of the peers; who has none is left out."""
ONLY_POSTGRESQL = {"postgresql-audit", "sqlalchemy-audit-trail"}
BY_STATEMENT = (
    "sessionwise, no audit",
    "sessionwise, triggers",
    "sessionwise, session",
    "postgresql-audit",
)
"""Who records what a statement changes."""


def rows_of(case: str) -> int:
    """Return how many rows the statement of a case changes; 0 where it is about a unit."""
    found = re.search(r"UPDATE of ([\d,]+) rows", case)
    return int(found[1].replace(",", "")) if found else 0


class Worker:
    """A contender in its process, on a database of its own."""

    def __init__(self, name: str, url: URL) -> None:
        self.name = name
        command = [sys.executable, "-m", "benchmarks.audit_contenders", name]
        self._process = subprocess.Popen(
            [*command, url.render_as_string(hide_password=False)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        self._answer()

    def tell(self, line: str) -> tuple[float, float]:
        """Have something done; return the seconds it took, and those of this process's CPU."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        seconds, cpu = map(float, self._answer().split())
        return seconds, cpu

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} has failed; its errors are above")
        return line

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def run(database: str, new_engine: Callable[[], Engine], rounds: int) -> Iterator[Result]:
    """Time the ordinary ways to change rows, audited and not."""
    names = [one for one in CONTENDERS if _can_run(one, database)]
    with ExitStack() as stack:
        workers = []
        for name in names:
            url = _own_database(new_engine(), f"audit_{len(workers)}")
            workers.append(worker := Worker(name, url))
            stack.callback(worker.close)
        what = f"load {2 * CHANGED}, change {CHANGED}, delete {CHANGED}, add {CHANGED}, commit"
        timings, cpu = _compare(workers, "unit", 2 * CHANGED, min(rounds, 7))
        yield Result(f"{CASE}: unit of work", database, what, UNIT_TARGET, timings)
        yield Result(f"{CASE}: unit of work, CPU", database, what, UNIT_TARGET, cpu)
        chosen = [one for one in workers if one.name in BY_STATEMENT]
        for rows, at_most in ROWS.items():
            case = f"{CASE}: UPDATE of {rows:,} rows"
            timings, _ = _compare(chosen, "statement", rows, min(rounds, at_most))
            yield Result(case, database, "one statement", STATEMENT_TARGET, timings)
            for one in timings[1:]:
                if one.median / timings[0].median > TOO_SLOW:
                    chosen = [other for other in chosen if other.name != one.contender]


def _can_run(name: str, database: str) -> bool:
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        print(f"{name} left out: it is not installed; pip install 'sessionwise[bench]'")
        return False
    return database == "postgresql" or name not in ONLY_POSTGRESQL


def _compare(
    workers: Sequence[Worker], what: str, rows: int, rounds: int
) -> tuple[list[Timing], list[Timing]]:
    """Time each worker once a round, in an order that turns, after a round to warm up.

    The time is told in two ways: what passes, and what the CPU works in the application.
    """
    taken: dict[str, list[tuple[float, float]]] = {one.name: [] for one in workers}
    first = 0 if rounds == 1 else 1
    for number in range(first + rounds):
        turn = number % len(workers)
        for worker in [*workers[turn:], *workers[:turn]]:
            worker.tell(f"fill {rows}")
            both = worker.tell(what)
            if number >= first:
                taken[worker.name].append(both)
    seconds, cpu = (
        [Timing(name, [both[at] for both in those]) for name, those in taken.items()]
        for at in (0, 1)
    )
    return seconds, cpu


def _own_database(engine: Engine, name: str) -> URL:
    """Make a database, so that contenders whose tables have one name do not meet."""
    url = engine.url
    if engine.dialect.name == "sqlite":
        return url.set(database=f"{url.database}.{name}")
    with create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return url.set(database=name)

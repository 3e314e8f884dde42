"""``make dropin``: all of SQLAlchemy's ORM tests that pass with its classes pass with ours.

What does not pass with our classes (failed, skipped or not even found) is run with SQLAlchemy's
own: what passes then diverges, and must be accounted for in divergences.toml.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.engine import URL

from tests import servers
from tests.dropin import suite
from tests.dropin.judge import Listed, Verdict, judge, stale

LISTED = Path(__file__).parent / "divergences.toml"
LISTED_FOR = {
    "batch_loads": Path(__file__).parent / "divergences-batch-loads.toml",
    "autoflush": Path(__file__).parent / "divergences-autoflush.toml",
}
"""What diverges with an option only."""

LEAST_PASSED = {suite.ORM: 11_000, suite.ASYNC: 250}
"""Fewer than that, and the run has not tested what it should."""

LEAST_MADE = {suite.ORM: {"Session": 5_000}, suite.ASYNC: {"Session": 100, "AsyncSession": 100}}
"""Sessions of ours, by class; fewer, and the run has tested SQLAlchemy's own."""


@dataclass(frozen=True)
class Run:
    """One run of SQLAlchemy's tests."""

    name: str
    target: str
    """A URL for SQLite; for PostgreSQL, whose server is started, the driver."""
    paths: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    """The options of our sessions."""

    @property
    def listed(self) -> Listed:
        """The divergences that are accounted for in such a run."""
        return Listed.load(LISTED, *(LISTED_FOR[option] for option in self.options))


BATCH_LOADS = {"batch_loads": True}
RELATED = {"autoflush": "related"}

RUNS = {
    "sqlite": (
        Run("sqlite", "sqlite:///:memory:", suite.ORM),
        Run("sqlite-batch-loads", "sqlite:///:memory:", suite.ORM, BATCH_LOADS),
        Run("sqlite-related", "sqlite:///:memory:", suite.ORM, RELATED),
        Run("aiosqlite", "sqlite+aiosqlite:///:memory:", suite.ASYNC),
    ),
    "postgresql": (
        Run("postgresql", "psycopg", suite.ORM),
        Run("postgresql-batch-loads", "psycopg", suite.ORM, BATCH_LOADS),
        Run("postgresql-related", "psycopg", suite.ORM, RELATED),
        Run("asyncpg", "asyncpg", suite.ASYNC),
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make dropin", description=__doc__)
    parser.add_argument("--db", action="append", choices=RUNS, help="default: all")
    parser.add_argument(
        "--quick", action="store_true", help="our options on SQLite only; a third of the time less"
    )
    options = parser.parse_args()
    verdicts, complete = [], True
    for database in options.db or RUNS:
        try:
            for run, uri in runs(database):
                if options.quick and run.options and database != "sqlite":
                    continue
                verdicts.append(compare(run, uri))
        except servers.ServerUnavailable as unavailable:
            print(f"{database} left out: {unavailable}", file=sys.stderr)
            complete = complete and "CI" not in os.environ
    listed = Listed.load(LISTED, *LISTED_FOR.values())
    is_whole = complete and not (options.db or options.quick)
    unused = stale(verdicts, listed) if is_whole else set()
    for test in sorted(unused):
        print(f"listed, but it passes everywhere: {test}")
    unexplained = any(verdict.unexplained for verdict in verdicts)
    return 0 if complete and not unexplained and not unused else 1


def runs(database: str) -> Iterator[tuple[Run, str]]:
    if database == "sqlite":
        yield from ((run, run.target) for run in RUNS["sqlite"])
        return
    with servers.postgresql_with_contrib() as server, prepared(server) as url:
        for run in RUNS["postgresql"]:
            uri = url.set(drivername=f"postgresql+{run.target}")
            yield run, uri.render_as_string(hide_password=False)


@contextmanager
def prepared(server: URL) -> Iterator[URL]:
    """Give a database of its own with the schemas that SQLAlchemy's tests expect."""
    name = "sessionwise_dropin"
    drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
    _execute(server, drop, f"CREATE DATABASE {name} ENCODING 'utf8' TEMPLATE template0")
    try:
        url = server.set(database=name)
        _execute(url, "CREATE SCHEMA test_schema", "CREATE SCHEMA test_schema_2")
        yield url
    finally:
        _execute(server, drop)


def _execute(url: URL, *statements: str) -> None:
    sync = url.set(drivername="postgresql+psycopg")
    engine = create_engine(sync, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def compare(run: Run, uri: str) -> Verdict:
    """Run with our classes, then with SQLAlchemy's what did not pass, and say what differs."""
    name, paths = run.name, run.paths
    ours = suite.run(name, uri, paths, ours=run.options)
    enough = all(ours.created.get(made, 0) >= n for made, n in LEAST_MADE[paths].items())
    if len(ours.tests("passed")) < LEAST_PASSED[paths] or not enough:
        raise RuntimeError(f"{name}: the run has not tested our sessions, see {ours.log}")
    plain = suite.run(name, uri, paths, without=ours.tests("passed"))
    unheard_of = ours.by_test.keys() - ours.tests("passed") - plain.by_test.keys()
    if unheard_of:
        raise RuntimeError(f"{name}: the second run lacks {sorted(unheard_of)}, see {plain.log}")
    verdict = judge(plain.tests("passed"), run.listed)
    sessions = ", ".join(f"{number} {class_}" for class_, number in sorted(ours.created.items()))
    print(f"{name}: {len(ours.tests('passed'))} passed with ours ({sessions} made)")
    for reason, tests in verdict.by_reason.items():
        print(f"{name}: {len(tests)} diverge: {reason}")
    print(f"{name}: {len(verdict.enumerations)} merely enumerate class members")
    print(f"{name}: {len(verdict.unexplained)} unexplained", flush=True)
    for test in sorted(verdict.unexplained):
        print(f"  {test}")
    return verdict


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted: nothing is judged", file=sys.stderr)
        sys.exit(130)

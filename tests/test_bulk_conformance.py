"""Each writer of ours, by each driver that it is for, passes the suite that ships."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from sessionwise.asyncio import AsyncSession
from sessionwise.bulk.conformance import WriterConformance, in_threads
from sessionwise.bulk.writers import core, mysql, postgresql, sqlite
from tests.backends import Database, on

Run = Callable[[Callable[[Any], Any]], Any]


def by_name(writers: Sequence[Any], name: str) -> Any:
    """Return one of the writers of a database."""
    return next(writer for writer in writers if writer.name == name)


class OnDatabase(WriterConformance):
    """The suite on the databases of the tests."""

    options: dict[str, Any] = {}
    """Of the engine."""

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, database: Database) -> Iterator[Any]:
        engine = database.new_engine(**cls.options)
        yield engine
        database.dispose(engine)

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls, database: Database, engine: Any) -> Run:
        def run(function: Callable[[Any], Any]) -> Any:
            with database.session(engine) as session:
                return (
                    session.run_sync(function) if database.driver.is_async else function(session)
                )

        return run

    @pytest.fixture
    def run_together(self, database: Database, engine: Any, run: Run) -> Any:
        async def in_task(function: Callable[[Any], Any]) -> Any:
            async with AsyncSession(engine) as session:
                return await session.run_sync(function)

        async def in_tasks(functions: Sequence[Any]) -> list[Any]:
            return await asyncio.gather(*map(in_task, functions))

        if database.driver.is_async:
            return lambda functions: database.run(in_tasks(functions))
        return lambda functions: in_threads(run, functions)


@on("sqlite", "mariadb")
class TestCore(OnDatabase):
    writer = core.WRITER


@on("postgresql")
class TestPostgreSQLInsert(OnDatabase):
    writer = by_name(postgresql.WRITERS, "core")


@on("sqlite")
class TestSQLite(OnDatabase):
    writer = by_name(sqlite.WRITERS, "sqlite-executemany")


@on("postgresql")
class TestPostgreSQLCopy(OnDatabase):
    writer = postgresql.CopyWriter(0)


@on("postgresql")
class TestPostgreSQLCopyOfArrow(OnDatabase):
    writer = postgresql.CopyWriter(0)

    @pytest.fixture
    def source(self) -> Callable[[list[dict[str, Any]]], Any]:
        return as_arrow


@on("mariadb")
class TestMariaDBExecutemany(OnDatabase):
    writer = by_name(mysql.WRITERS, "mysql-executemany")


@on("mariadb")
class TestMariaDBLoadData(OnDatabase):
    writer = by_name(mysql.WRITERS, "mysql-load-data")
    options = {"connect_args": {"local_infile": True}}


def as_arrow(rows: list[dict[str, Any]]) -> Any:
    """Return rows as an Arrow table, where that has the same values, and the rows where not."""
    import pyarrow

    if len({tuple(row) for row in rows}) != 1 or not rows[0]:
        return rows
    try:
        table = pyarrow.Table.from_pylist(rows)
    except (pyarrow.ArrowException, OverflowError, TypeError, ValueError):
        return rows
    same = repr(table.to_pylist()) == repr(rows)
    return table if same else rows

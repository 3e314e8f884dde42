"""The databases that the tests run on, and one way to write a test for sync and async sessions."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSessionTransaction,
    AsyncTransaction,
    create_async_engine,
)

import sessionwise
import sessionwise.asyncio
from tests.model import Base, Order, User


@dataclass(frozen=True)
class Driver:
    """A driver that the tests run on."""

    name: str
    server: str
    dialect: str
    is_async: bool = False


DRIVERS = (
    Driver("sqlite3", "sqlite", "sqlite+pysqlite"),
    Driver("aiosqlite", "sqlite", "sqlite+aiosqlite", is_async=True),
    Driver("psycopg", "postgresql", "postgresql+psycopg"),
    Driver("psycopg-async", "postgresql", "postgresql+psycopg_async", is_async=True),
    Driver("psycopg2", "postgresql", "postgresql+psycopg2"),
    Driver("asyncpg", "postgresql", "postgresql+asyncpg", is_async=True),
    Driver("pymysql", "mariadb", "mariadb+pymysql"),
    Driver("aiomysql", "mariadb", "mariadb+aiomysql", is_async=True),
)


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test on some drivers only, given by their own name or their server's."""
    chosen = [driver for driver in DRIVERS if {driver.name, driver.server} & set(names)]
    return pytest.mark.parametrize(
        "database", chosen, indirect=True, scope="session", ids=lambda driver: driver.name
    )


OBSERVERS = {
    "sqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "mariadb": "mariadb+pymysql",
}
"""The driver by which a test looks, from outside, at what is stored."""


class Blocking:
    """An object of asyncio whose coroutines are run to their end when called.

    It lets one test text run over ``Session`` and over ``AsyncSession``: the async session, its
    driver and its event loop are the real ones.
    """

    def __init__(self, target: Any, run: Callable[[Any], Any]) -> None:
        self.target = target
        self._run = run

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.target, name)
        return Blocking(value, self._run) if callable(value) else value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._finish(self.target(*args, **kwargs))

    def _finish(self, result: Any) -> Any:
        if isinstance(result, AsyncSessionTransaction | AsyncTransaction):
            if result.sync_transaction is None:  # begin() and begin_nested() begin when called
                self._run(result.start())
            return Blocking(result, self._run)
        if inspect.iscoroutine(result):
            return self._finish(self._run(result))
        if hasattr(result, "__aenter__"):
            return Blocking(result, self._run)
        return result

    def __enter__(self) -> Any:
        if isinstance(self.target, AsyncSessionTransaction):
            self.target.sync_transaction.__enter__()  # as AsyncSessionTransaction.start does
            return self
        entered = self._run(self.target.__aenter__())
        return self if entered is self.target else Blocking(entered, self._run)

    def __exit__(self, *exception: Any) -> Any:
        return self._run(self.target.__aexit__(*exception))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.target)

    def __contains__(self, item: object) -> bool:
        return item in self.target

    def __eq__(self, other: object) -> bool:
        return self.target is (other.target if isinstance(other, Blocking) else other)

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Database:
    """One database by one driver, with the tables of ``tests.model``."""

    driver: Driver
    url: Any
    observer: Engine
    runner: asyncio.Runner | None
    engine: Any = field(init=False)

    def __post_init__(self) -> None:
        self.engine = self.new_engine()

    def new_engine(self, url: Any = None, **options: Any) -> Any:
        """Make an engine that no session has seen."""
        create = create_async_engine if self.driver.is_async else create_engine
        return create((url or self.url).set(drivername=self.driver.dialect), **options)

    @property
    def sync_engine(self) -> Engine:
        return self.engine.sync_engine if isinstance(self.engine, AsyncEngine) else self.engine

    def run(self, coroutine: Any) -> Any:
        assert self.runner is not None
        return self.runner.run(coroutine, context=copy_context())  # as if it were awaited here

    def blocking(self, target: Any) -> Any:
        """Make an object usable without ``await``, whatever driver this is."""
        return Blocking(target, self.run) if self.driver.is_async else target

    def session(self, bind: Any = None, **options: Any) -> Any:
        """Make a session of ours."""
        class_: Any = sessionwise.Session
        if self.driver.is_async:
            class_ = sessionwise.asyncio.AsyncSession
        return self.blocking(class_(self.engine if bind is None else bind, **options))

    def maker(self, **options: Any) -> Any:
        class_: Any = sessionwise.sessionmaker
        if self.driver.is_async:
            class_ = sessionwise.asyncio.async_sessionmaker
        return self.blocking(class_(self.engine, **options))

    def read_committed(self, session: Any) -> None:
        """Begin a unit in which a refresh sees the newest row: MariaDB's default has none such."""
        if self.driver.server == "mariadb":
            session.connection(execution_options={"isolation_level": "READ COMMITTED"})

    def inside(self, session: Any, function: Callable[[], Any]) -> Any:
        """Call a function that loads attributes: for asyncio, in a greenlet of SQLAlchemy's."""
        if not self.driver.is_async:
            return function()
        return session.run_sync(lambda _: function())

    @contextmanager
    def connection(self, engine: Any = None) -> Iterator[Any]:
        """Give a connection; what is not committed at the end is rolled back."""
        connection = (engine or self.engine).connect()
        if self.driver.is_async:
            self.run(connection.start())
        blocking = self.blocking(connection)
        try:
            yield blocking
        finally:
            blocking.close()

    def names(self) -> list[str]:
        """Return the names of the stored users, as another connection sees them."""
        with self.observer.connect() as connection:
            return sorted(connection.scalars(select(User.name)))

    @contextmanager
    def statements(self, engine: Any = None) -> Iterator[list[str]]:
        """Collect the statements sent to the database."""
        seen: list[str] = []

        def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
            seen.append(statement)

        target = self.sync_engine if engine is None else getattr(engine, "sync_engine", engine)
        event.listen(target, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(target, "before_cursor_execute", note)

    def clear(self) -> None:
        """Empty the tables."""
        with self.observer.begin() as connection:
            connection.execute(Order.__table__.delete())
            connection.execute(User.__table__.delete())
        if self.driver.server == "mariadb":
            # A row that is deleted and not purged yet is locked, with its neighbours, by whoever
            # inserts one of its name: two writers would wait for each other by chance. Not every
            # server has this setting, and not every user may change it; a transaction that is open
            # somewhere keeps rows from being purged, and is not waited for.
            with self.observer.connect() as connection, suppress(DBAPIError):
                connection.exec_driver_sql("SET SESSION max_statement_time = 2")
                connection.exec_driver_sql("SET GLOBAL innodb_max_purge_lag_wait = 0")
            with self.observer.connect() as connection, suppress(DBAPIError):
                connection.exec_driver_sql("SET SESSION max_statement_time = 0")

    def dispose(self, engine: Any = None) -> None:
        disposed = self.engine if engine is None else engine
        result = disposed.dispose()
        if self.driver.is_async:
            self.run(result)


def create_tables(url: Any, server: str) -> Engine:
    """Make the tables of ``tests.model``; return the engine that looks from outside."""
    observer = create_engine(url.set(drivername=OBSERVERS[server]))
    Base.metadata.drop_all(observer)
    Base.metadata.create_all(observer)
    return observer

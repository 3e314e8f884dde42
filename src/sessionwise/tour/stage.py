"""The stage: a database that has the tour's tables for as long as a tour lasts."""

from __future__ import annotations

import inspect
import logging
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event, orm
from sqlalchemy.exc import SQLAlchemyError

import sessionwise
from sessionwise.tour import dataset
from sessionwise.tour.model import IN_TRANSACTIONS, PREFIX, Base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Engine
    from sqlalchemy.orm import Session

__all__ = ["Side", "Stage", "open_stage"]

PATIENCE = 5
"""Seconds in which a server must accept a connection."""

_CONNECT_ARGUMENTS: dict[str, dict[str, Any]] = {
    "psycopg": {"connect_timeout": PATIENCE},
    "psycopg2": {"connect_timeout": PATIENCE},
    # This driver waits for the server's greeting as long as for any answer.
    "pymysql": {"connect_timeout": PATIENCE, "read_timeout": 3 * PATIENCE},
}
_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}


def _original_of(table: sa.Table) -> sa.Table:
    columns = [sa.Column(column.name, column.type) for column in table.columns]
    return sa.Table(f"{table.name}_original", _METADATA[1], *columns, **IN_TRANSACTIONS)


_METADATA = Base.metadata, sa.MetaData()
"""Of the tables that the scenes work on, and of those that hold what they start from."""

_ORIGINALS = {table: _original_of(table) for table in Base.metadata.sorted_tables}
"""For each table the one that keeps its rows: the database copies faster than a client sends."""


@dataclass(frozen=True)
class Side:
    """One of the two that are compared, with an engine of its own: ours mends what it touches."""

    session_class: type[Session]
    """The class of its sessions."""
    engine: Engine
    """The engine of its sessions."""

    def session(self, **options: Any) -> Any:  # a scene may use verbs that only ours has
        """Make a session; options that its class does not have are left out."""
        known = set(inspect.signature(orm.Session).parameters)
        known.update(inspect.signature(self.session_class).parameters)
        taken = {name: value for name, value in options.items() if name in known}
        return self.session_class(self.engine, **taken)


@dataclass(frozen=True)
class Stage:
    """A database with the tour's tables, and the two sides that play on it."""

    engine: Engine
    """The stage's own engine, to set up and to look; it belongs to neither side."""
    plain: Side
    """SQLAlchemy as it is."""
    ours: Side
    """The same with our session."""
    left_behind: list[str]
    """Tables that were still there after the stage had been taken down."""

    @property
    def database(self) -> str:
        """Name and version of the database."""
        dialect = self.engine.dialect
        name = "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name
        version = ".".join(str(part) for part in dialect.server_version_info or ())
        return f"{_NAMES.get(name, name)} {version}"

    def refresh(self) -> None:
        """Put the tables back to where every scene starts."""
        with self.engine.begin() as connection:
            _empty(connection)
            for table, original in _ORIGINALS.items():
                rows = sa.select(original)
                connection.execute(table.insert().from_select(original.columns.keys(), rows))


def _empty(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Rows that are deleted stay until a vacuum, and every check of a foreign key walks them.
        tables = ", ".join(table.name for table in _ORIGINALS)
        connection.exec_driver_sql(f"TRUNCATE {tables}")
        return
    for table in reversed(_ORIGINALS):
        connection.execute(table.delete())


@contextmanager
def open_stage(url: URL | None = None) -> Iterator[Stage]:
    """Set the tour's tables up on a database, and take them down again whatever happens.

    :param url: the database; by default a SQLite file that exists as long as the stage does.
    """
    with ExitStack() as stack:
        stack.enter_context(_quiet_driver())
        place = stack.enter_context(_place(url))
        engine = stack.enter_context(_engine(place))
        sa.inspect(engine).get_table_names()  # where this fails, there is nothing to take down
        left_behind: list[str] = []
        stack.callback(_take_down, engine, left_behind)
        plain, ours = (stack.enter_context(_engine(place)) for _ in range(2))
        _set_up(engine)
        yield Stage(
            engine=engine,
            plain=Side(orm.Session, plain),
            ours=Side(sessionwise.Session, ours),
            left_behind=left_behind,
        )


def _set_up(engine: Engine) -> None:
    for metadata in _METADATA:
        metadata.create_all(engine)
    with engine.begin() as connection:
        for table, original in _ORIGINALS.items():
            rows = dataset.stored_rows(table)
            if rows:
                connection.execute(original.insert(), rows)


def _take_down(engine: Engine, left_behind: list[str]) -> None:
    try:
        for metadata in _METADATA:
            metadata.drop_all(engine)
        names = sa.inspect(engine).get_table_names()
    except SQLAlchemyError as error:
        error.add_note(f"tables whose names begin with {PREFIX} may still be there")
        raise
    left_behind += [name for name in names if name.startswith(PREFIX)]


@contextmanager
def _quiet_driver() -> Iterator[None]:
    """Keep psycopg from telling on stderr about errors that it also raises."""
    logger, quiet = logging.getLogger("psycopg"), logging.NullHandler()
    logger.addHandler(quiet)
    try:
        yield
    finally:
        logger.removeHandler(quiet)


@contextmanager
def _place(url: URL | None) -> Iterator[URL]:
    """Say where the stage is to be, and remove the file if it is one that the tour makes."""
    if url is None or _is_in_memory(url):
        with tempfile.TemporaryDirectory(prefix="sessionwise-tour-") as directory:
            yield sa.URL.create("sqlite", database=str(Path(directory, "tour.db")))
    elif url.get_backend_name() == "sqlite":
        path = Path((url.database or "").removeprefix("file:"))
        made_here = not path.exists()
        try:
            yield url
        finally:
            if made_here:
                path.unlink(missing_ok=True)
    else:
        yield url


def _is_in_memory(url: URL) -> bool:
    """Say whether each connection would get a SQLite database of its own."""
    database = url.database or ":memory:"
    in_memory = ":memory:" in database or url.query.get("mode") == "memory"
    return url.get_backend_name() == "sqlite" and in_memory


@contextmanager
def _engine(url: URL) -> Iterator[Engine]:
    """Make an engine, and close every connection of it in the end.

    ``dispose()`` leaves alone what a session still holds, and what it holds may be locked.
    """
    arguments = _CONNECT_ARGUMENTS.get(url.get_driver_name(), {})
    asked = {name: value for name, value in arguments.items() if name not in url.query}
    engine = sa.create_engine(url, connect_args=asked)
    opened: list[Any] = []
    event.listen(engine, "connect", lambda connection, _record: opened.append(connection))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _check_foreign_keys)
    try:
        yield engine
    finally:
        engine.dispose()
        for connection in opened:
            with suppress(engine.dialect.loaded_dbapi.Error):  # it is closed already
                connection.close()


def _check_foreign_keys(connection: Any, _record: Any) -> None:
    """Let SQLite refuse a flight without a plane, as the other databases do."""
    connection.execute("PRAGMA foreign_keys = ON")

"""The audit by triggers, without sessions: tables, clients, what is recorded, and its replay."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Computed,
    Date,
    DateTime,
    Double,
    Engine,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Time,
    UniqueConstraint,
    select,
)
from sqlalchemy.dialects import mysql

from sessionwise.audit import Audit
from sessionwise.audit.tables import LOG, METADATA, TRANSACTION
from tests.backends import on

on_each = on("sqlite3", "psycopg", "pymysql")
"""Once on each kind of database: a raw client has no drivers to choose from."""

_CASELESS = (
    String(20)
    .with_variant(String(20, collation="NOCASE"), "sqlite")
    .with_variant(String(20, collation="utf8mb4_general_ci"), "mysql", "mariadb")
)

things = MetaData()
"""Tables with keys of each kind, and foreign keys that do something."""

thing = Table(
    "thing",
    things,
    Column("id", Integer, primary_key=True),
    Column("code", String(20), unique=True),
    Column("shelf", Integer),
    Column("box", Integer),
    Column("word", _CASELESS),
    Column("twice", Integer, Computed("shelf * 2", persisted=True)),
    UniqueConstraint("shelf", "box"),
)
label = Table(
    "label",
    things,
    Column("code", String(20), primary_key=True),
    Column("thing_id", ForeignKey("thing.id", ondelete="CASCADE", onupdate="CASCADE")),
    Column("other_id", ForeignKey("thing.id", ondelete="SET NULL", onupdate="CASCADE")),
    sqlite_with_rowid=False,
)
mark = Table(
    "mark",
    things,
    Column("code", ForeignKey("label.code", ondelete="CASCADE"), primary_key=True),
    Column("colour", String(20), primary_key=True),
)
dot = Table(
    "dot",
    things,
    Column("id", Integer, primary_key=True),
    Column("code", String(20)),
    Column("colour", String(20)),
    Column("thing_id", ForeignKey("thing.id", ondelete="CASCADE", onupdate="CASCADE")),
    Column("guard_id", ForeignKey("thing.id")),
    ForeignKeyConstraint(
        ["code", "colour"], ["mark.code", "mark.colour"], ondelete="CASCADE", onupdate="CASCADE"
    ),
)
tree = Table(
    "tree",
    things,
    Column("id", Integer, primary_key=True),
    Column("above", ForeignKey("tree.id", ondelete="CASCADE")),
    Column("beside", ForeignKey("tree.id", ondelete="SET NULL")),
)
leaf = Table(
    "leaf",
    things,
    Column("id", Integer, primary_key=True),
    Column("tree_id", ForeignKey("tree.id", ondelete="CASCADE")),
)
tie = Table(
    "tie",
    things,
    Column("thing_id", ForeignKey("thing.id", ondelete="CASCADE"), primary_key=True),
    Column("tree_id", ForeignKey("tree.id", ondelete="CASCADE"), primary_key=True),
)

kinds = MetaData()
"""A table with a column for each kind of value that all databases have."""

NUMERICS = {"n0": 0, "n2": 2, "n6": 6, "n": None}
kind = Table(
    "kind",
    kinds,
    Column("id", Integer, primary_key=True),
    Column("big", BigInteger),
    Column("flag", Boolean),
    Column("ratio", Double),
    Column("words", Text().with_variant(Text(collation="utf8mb4_general_ci"), "mysql", "mariadb")),
    Column("raw", LargeBinary),
    Column("data", JSON),
    Column("day", Date),
    Column("hour", Time().with_variant(mysql.TIME(fsp=6), "mysql", "mariadb")),
    Column("at", DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")),
    *(Column(name, Numeric(40, scale)) for name, scale in NUMERICS.items()),
)


@contextmanager
def audited(engine: Engine, metadata: MetaData, **options: Any) -> Iterator[Audit]:
    """Audit the tables of a metadata, made anew, for as long as the block lasts."""
    audit = Audit(metadata, capture="trigger", **options)
    metadata.drop_all(engine)
    METADATA.drop_all(engine)
    metadata.create_all(engine)
    audit.install(engine)
    assert audit.doctor(engine) == []
    try:
        yield audit
    finally:
        audit.uninstall(engine, drop_tables=True)
        metadata.drop_all(engine)


def empty(engine: Engine, metadata: MetaData) -> None:
    """Empty the tables of a metadata, and forget what is recorded."""
    with engine.begin() as connection:
        for table in (*reversed(metadata.sorted_tables), *METADATA.sorted_tables):
            connection.execute(table.delete())


def forget(engine: Engine) -> None:
    """Forget what is recorded."""
    empty(engine, MetaData())


_COMMITTING: dict[str, dict[str, Any]] = {
    "sqlite": {"isolation_level": None},
    "postgresql": {"autocommit": True},
    "mariadb": {"autocommit": True},
}


class Client:
    """A client of the driver alone, which commits each statement outside of BEGIN."""

    def __init__(self, engine: Engine, **options: Any) -> None:
        self.server = engine.dialect.name
        self.driver: Any = engine.dialect.loaded_dbapi
        arguments, given = engine.dialect.create_connect_args(engine.url)
        given = {**given, **_COMMITTING[self.server], **options}
        self.connection = self.driver.connect(*arguments, **given)
        self._cursor = self.connection.cursor()
        if self.server == "sqlite":
            self.execute("PRAGMA foreign_keys = ON", "PRAGMA synchronous = OFF")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def execute(self, *statements: str) -> None:
        for statement in statements:
            self.ask(statement)

    def together(self, *statements: str) -> None:
        """Run statements in one transaction, or none of them."""
        self.execute("BEGIN")
        try:
            self.execute(*statements)
        except BaseException:
            self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")

    def insert(self, column: str, values: Iterable[Any]) -> None:
        """Insert values into a column of ``kind``, a row each."""
        mark = "?" if self.server == "sqlite" else "%s"
        rows = [(value,) for value in values]
        self._cursor.executemany(f"INSERT INTO kind ({column}) VALUES ({mark})", rows)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        self._cursor.execute(query)
        # SQLite has not ended a statement before its rows are fetched.
        return list(self._cursor.fetchall()) if self._cursor.description else []

    @property
    def lastrowid(self) -> int:
        return int(self._cursor.lastrowid)


def fill(raw: Client) -> None:
    """Put things in that refer to each other."""
    raw.execute(
        "INSERT INTO thing (id, code) VALUES (1, 'one'), (2, 'two'), (3, 'three')",
        "INSERT INTO label VALUES ('a', 1, 2), ('b', 2, 1), ('c', 3, NULL)",
        "INSERT INTO mark VALUES ('a', 'red'), ('c', 'red')",
        "INSERT INTO dot (id, code, colour, thing_id) VALUES (1, 'a', 'red', NULL), "
        "(2, NULL, NULL, 1), (3, 'c', 'red', 2)",
    )


def stored(engine: Engine, raw: Client, column: str, values: Iterable[Any]) -> list[Any]:
    """Store values in a column of ``kind``, and return what is recorded of them."""
    empty(engine, kinds)
    raw.execute("BEGIN")
    raw.insert(column, values)
    raw.execute("COMMIT")
    return [one.new[column] for one in logged(engine)]


@dataclass(frozen=True)
class Logged:
    """A row of ``audit_log``."""

    action: str
    table: str
    object_id: str | None
    old: Any
    new: Any
    previous_id: str | None
    transaction_id: int


def decoded(said: Any) -> Any:
    """Return what JSON says; PostgreSQL's driver has understood it already."""
    return json.loads(said) if isinstance(said, str) else said


def logged(engine: Engine) -> list[Logged]:
    """Return what is recorded, in its order."""
    names = ("action", "table", "object_id", "old", "new", "previous_id", "transaction_id")
    with engine.connect() as connection:
        found = connection.execute(select(*(LOG.c[name] for name in names)).order_by(LOG.c.id))
        return [
            Logged(action, table, key, decoded(old), decoded(new), before, number)
            for action, table, key, old, new, before, number in found
        ]


def happened(engine: Engine) -> list[tuple[str, str, str | None]]:
    """Return what has happened to which rows."""
    return [(one.action, one.table, one.object_id) for one in logged(engine)]


def in_order(found: Iterable[Any]) -> list[Any]:
    return sorted(found, key=repr)


def assert_transactions(engine: Engine, count: int | None = None) -> None:
    """See that each record has its transaction, and that there are no others."""
    with engine.connect() as connection:
        used = set(connection.scalars(select(LOG.c.transaction_id)))
        there = list(connection.scalars(select(TRANSACTION.c.id)))
    assert used == set(there)
    assert len(there) == (len(used) if count is None else count)


def assert_replays(engine: Engine, metadata: MetaData = things) -> None:
    """Compare the rows that there are with those that there should be, by the audit."""
    records = logged(engine)
    if engine.dialect.name == "postgresql":
        # Its triggers fire by kind of change, when all that the statement does is done: what it
        # has changed before it was deleted stands the other way round.
        records.sort(key=lambda one: (one.transaction_id, one.action == "DELETE"))
    replayed = replay(records)
    for table in metadata.sorted_tables:
        with engine.connect() as connection:
            found = [dict(one) for one in connection.execute(select(table)).mappings()]
        assert in_order(found) == in_order(replayed.get(table.name, {}).values()), table


def replay(records: Sequence[Logged]) -> dict[str, dict[str | None, Any]]:
    """Return the rows that there are by what is recorded; each change must fit those before."""
    tables: dict[str, dict[str | None, Any]] = {}
    for one in records:
        rows = tables.setdefault(one.table, {})
        if one.action in {"INSERT", "LINK"}:
            assert one.old is None
            assert one.object_id not in rows, f"{one} is there already"
            rows[one.object_id] = one.new
            continue
        before = rows.pop(one.previous_id or one.object_id)
        assert before == one.old, f"{one} was {before}"
        if one.action == "UPDATE":
            assert one.object_id not in rows, f"{one} takes the place of another"
            assert any(one.old[name] != value for name, value in one.new.items())
            rows[one.object_id] = {**before, **one.new}
        else:
            assert one.action in {"DELETE", "UNLINK"}
            assert one.new is None
    return tables

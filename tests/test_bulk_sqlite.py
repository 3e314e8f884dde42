"""The writer for SQLite: what it stores is what the ORM stores, and keys are the rows' own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    UniqueConstraint,
    insert,
    select,
)
from sqlalchemy.dialects.sqlite import DATE, DATETIME
from sqlalchemy.exc import DBAPIError, IntegrityError

from sessionwise.bulk import processors
from sessionwise.bulk.plan import Plan
from sessionwise.bulk.reading.rows import Chunk
from sessionwise.bulk.target import Target
from sessionwise.bulk.writers import sqlite
from sessionwise.errors import BulkInputError
from tests.backends import Database, on

pytestmark = on("sqlite")

metadata = MetaData()
things = Table(
    "sl_things",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("na me%", String(20), key="name"),
    Column("size", Integer),
    Column("weight", Float),
    Column("price", Numeric(10, 2)),
    Column("at", DateTime),
    Column("day", Date),
    Column("raw", LargeBinary),
    Column("doc", JSON),
)
lines = Table(
    "sl_lines",
    metadata,
    Column("thing_id", ForeignKey("sl_things.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
)
without_rowid = Table(
    "sl_codes",
    metadata,
    Column("code", String(5), primary_key=True),
    Column("size", Integer),
    sqlite_with_rowid=False,
)
large = Table(
    "sl_large", metadata, Column("id", BigInteger, primary_key=True), Column("n", Integer)
)
ignoring = Table(
    "sl_ignoring",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("n", Integer),
    UniqueConstraint("n", sqlite_on_conflict="IGNORE"),
)
view = Table(
    "sl_view", MetaData(), Column("id", Integer, primary_key=True), Column("size", Integer)
)
log = Table("sl_log", metadata, Column("id", Integer, primary_key=True), Column("n", Integer))

SQL = (
    "CREATE TRIGGER sl_note AFTER INSERT ON sl_things BEGIN "
    "INSERT INTO sl_log (n) VALUES (1), (2), (3); END",
    "CREATE VIEW sl_view AS SELECT id, size FROM sl_things",
    "CREATE TRIGGER sl_instead INSTEAD OF INSERT ON sl_view BEGIN "
    "INSERT INTO sl_things (id, size) VALUES (NEW.id, NEW.size); END",
)


@pytest.fixture
def tables(db: Database) -> Iterator[Database]:
    with db.observer.begin() as connection:
        metadata.create_all(connection)
        for statement in SQL:
            connection.exec_driver_sql(statement)
    yield db
    with db.observer.begin() as connection:
        connection.exec_driver_sql("DROP VIEW sl_view")
        metadata.drop_all(connection)


def run(db: Database, function: Any) -> Any:
    """Call a function with a plain session, and close that without a commit."""
    with db.session() as session:
        return session.run_sync(function) if db.driver.is_async else function(session)


def write(
    session: Any, table: Table, names: tuple[str, ...], rows: list[Any], returning: bool = False
) -> Any:
    connection = session.connection()
    plan = Plan(Target.of(table), names, connection.dialect)
    [writer] = sqlite.WRITERS
    assert writer.takes(connection, plan)
    method = writer.write_returning if returning else writer.write
    return method(connection, plan, Chunk(names, range(100, 100 + len(rows)), rows))


VALUES: list[dict[str, Any]] = [
    {"name": "a'b\\\0é😀", "size": 2**63 - 1, "weight": 1.5, "price": Decimal("1.25")},
    {"weight": float("nan"), "raw": b"\0\xff", "doc": {"a": [1, None]}},
    {"weight": float("inf"), "doc": None, "size": -(2**63)},
    {"at": dt.datetime(13, 1, 2, 3, 4, 5), "day": dt.date(987, 1, 2)},
    {"at": dt.datetime(2013, 1, 2, 3, 4, 5, 7, dt.UTC), "day": dt.datetime(2013, 1, 2, 3)},
    {"at": dt.date(2013, 1, 2), "name": 5, "size": 1.5},
]


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("returning", [False, True])
def test_values_are_as_by_core(tables: Database, values: dict[str, Any], returning: bool) -> None:
    def test(session: Any) -> None:
        session.execute(insert(things), [{"id": 1, **values}])
        write(session, things, ("id", *values), [(2, *values.values())], returning)
        columns = ", ".join(
            f'"{one.name}", typeof("{one.name}")' for one in things.c if one.key != "id"
        )
        found = session.connection().exec_driver_sql(
            f"SELECT {columns} FROM sl_things ORDER BY id"
        )
        first, second = map(tuple, found)
        assert first == second

    run(tables, test)


def test_keys(tables: Database) -> None:
    def test(session: Any) -> None:
        rows = [(size,) for size in range(2500)]
        keys = write(session, things, ("size",), rows, returning=True)
        stored = {row.id: row.size for row in session.execute(select(things.c.id, things.c.size))}
        assert [stored[key] for (key,) in keys] == [size for (size,) in rows]
        given = [(9_000, 1), (None, 2), (5_000, 3), (None, 4)]
        found = write(session, things, ("id", "size"), given, returning=True)
        assert found == [(9_000,), (9_001,), (5_000,), (9_002,)]

    run(tables, test)


def test_keys_of_other_kinds(tables: Database) -> None:
    def test(session: Any) -> None:
        session.execute(insert(things), [{"id": 1}])
        both = [(1, 7), (1, 3)]
        assert write(session, lines, ("thing_id", "number"), both, returning=True) == both
        rows = [("b", 1), ("a", 2)]
        keys = write(session, without_rowid, ("code", "size"), rows, returning=True)
        assert keys == [("b",), ("a",)]
        with pytest.raises(IntegrityError):
            write(session, large, ("n",), [(1,), (2,)], returning=True)

    run(tables, test)


@pytest.mark.parametrize("size", [2**63, -(2**63) - 1])
@pytest.mark.parametrize("returning", [False, True])
def test_integers_that_are_too_large(tables: Database, size: int, returning: bool) -> None:
    def test(session: Any) -> None:
        rows = [(1,)] * 1_234 + [(size,)]
        with pytest.raises(BulkInputError, match=rf"row 1,334: size is {size}, and"):
            write(session, things, ("size",), rows, returning)

    run(tables, test)


@pytest.mark.parametrize("returning", [False, True])
def test_rows_that_the_table_leaves_out(tables: Database, returning: bool) -> None:
    def test(session: Any) -> None:
        with pytest.raises(BulkInputError, match=r"sl_ignoring has left .*row.* out"):
            write(session, ignoring, ("n",), [(1,), (1,), (2,)], returning)

    run(tables, test)


def test_views(tables: Database) -> None:
    def test(session: Any) -> None:
        write(session, view, ("size",), [(1,), (2,)])
        keys = write(session, view, ("id", "size"), [(70, 1), (60, 2)], returning=True)
        assert keys == [(70,), (60,)]
        assert session.execute(select(things.c.size).order_by(things.c.id)).scalars().all() == [
            *(1, 2),
            *(2, 1),
        ]
        with pytest.raises(BulkInputError, match="row 100: sl_view is a view"):
            write(session, view, ("size",), [(1,)], returning=True)

    run(tables, test)


@pytest.mark.parametrize("returning", [False, True])
def test_errors(tables: Database, returning: bool) -> None:
    def test(session: Any) -> None:
        with pytest.raises(IntegrityError, match="UNIQUE"):
            write(session, things, ("id",), [(1,), (1,)], returning)
        with pytest.raises(DBAPIError):
            write(session, things, ("name",), [(object(),)], returning)

    run(tables, test)


def test_it_is_in_the_transaction(tables: Database) -> None:
    with tables.session() as session:

        def test(session: Any) -> None:
            write(session, things, ("size",), [(1,)])
            session.rollback()
            write(session, things, ("size",), [(2,)], returning=True)
            with session.begin_nested() as savepoint:
                write(session, things, ("size",), [(3,)])
                savepoint.rollback()
            session.commit()

        session.run_sync(test) if tables.driver.is_async else test(session)
    with tables.observer.connect() as connection:
        assert connection.scalars(select(things.c.size)).all() == [2]


def test_a_schema_that_is_translated(tables: Database) -> None:
    def test(session: Any) -> None:
        options = {"schema_translate_map": {None: "main"}}
        connection = session.connection().execution_options(**options)
        plan = Plan(Target.of(things), ("size",), connection.dialect)
        assert not sqlite.WRITERS[0].takes(connection, plan)

    run(tables, test)


@pytest.mark.parametrize(
    "type_",
    [
        DateTime(),
        Date(),
        DATETIME(truncate_microseconds=True),
        DATETIME(storage_format="%(day)02d.%(month)02d.%(year)04d"),
        DATE(storage_format="%(day)02d.%(month)02d.%(year)04d"),
    ],
)
def test_processors(tables: Database, type_: Any) -> None:
    """They say what SQLAlchemy's say, whatever the column holds."""
    dialect = tables.sync_engine.dialect
    theirs = type_.dialect_impl(dialect).bind_processor(dialect)
    ours: Any = processors.of(type_, dialect)
    moments = [dt.datetime(1, 2, 3), dt.datetime(2013, 1, 2, 3, 4, 5, 678), None]
    aware = [*moments, dt.datetime(2013, 1, 2, tzinfo=dt.UTC)]
    for column in (
        moments,
        aware,
        [None],
        [*moments, dt.date(2013, 1, 2)],
        [dt.date(1, 2, 3), None],
    ):
        assert list(ours(column)) == list(map(theirs, column))

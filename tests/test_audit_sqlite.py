"""SQLite's triggers: whatever any client does to a row is recorded once, in its form."""

from __future__ import annotations

import json
import math
import random
import shutil
import sqlite3
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Computed,
    DateTime,
    Double,
    Engine,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    func,
    select,
    text,
)
from sqlalchemy.types import NullType

from sessionwise.audit import Audit, actor
from sessionwise.audit.coverage import Coverage
from sessionwise.audit.tables import METADATA
from sessionwise.audit.triggers import sqlite
from sessionwise.audit.triggers.install import send
from sessionwise.errors import UnsupportedError
from tests import archive, audit_raw
from tests.audit_raw import brief, log, replay
from tests.backends import on

things = MetaData()

thing = Table(
    "thing",
    things,
    Column("id", Integer, primary_key=True),
    Column("code", String, unique=True),
    Column("shelf", Integer),
    Column("box", Integer),
    Column("word", String(collation="NOCASE")),
    UniqueConstraint("shelf", "box"),
)
label = Table(
    "label",
    things,
    Column("code", String, primary_key=True),
    Column("thing_id", ForeignKey("thing.id", ondelete="CASCADE", onupdate="CASCADE")),
    sqlite_with_rowid=False,
)
tree = Table(
    "tree",
    things,
    Column("id", Integer, primary_key=True),
    Column("above", ForeignKey("tree.id", ondelete="CASCADE")),
    Column("beside", ForeignKey("tree.id", ondelete="SET NULL")),
)
guest = Table(
    "guest",
    things,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, server_default="nobody"),
    Column("mail", String),
    Column("is_gone", Boolean, server_default="0"),
    Column("initial", String, Computed("substr(name, 1, 1)", persisted=False)),
    Column("size", Integer, Computed("length(name)", persisted=True)),
)
Index("ix_guest_name", func.lower(guest.c.name), unique=True)
Index("ix_guest_mail", guest.c.mail, unique=True, sqlite_where=guest.c.is_gone == 0)
Index("ix_guest_initial", guest.c.initial, guest.c.size, unique=True)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path / 'audited.db'}")
    yield made
    made.dispose()


@pytest.fixture
def raw(engine: Engine) -> Iterator[sqlite3.Connection]:
    """Give a raw client that commits each statement, the things audited."""
    audit_raw.create(engine, things)
    yield from _raw(engine)


def _raw(engine: Engine) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(engine.url.database or "", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    yield connection
    connection.close()


def logged(engine: Engine) -> list[audit_raw.Logged]:
    with engine.connect() as connection:
        return log(connection)


def happened(engine: Engine) -> list[tuple[str, str | None]]:
    return [(action, key) for action, _, key in brief(logged(engine))]


# Raw clients


def test_insert_update_and_delete_are_recorded(engine: Engine, raw: sqlite3.Connection) -> None:
    raw.execute("INSERT INTO thing (id, code, shelf) VALUES (1, 'a', 5), (2, 'b', 5)")
    raw.execute("UPDATE thing SET code = NULL, shelf = 5, box = 7 WHERE id = 1")
    raw.execute("DELETE FROM thing")
    one, two, changed, *gone = logged(engine)
    first = {"id": 1, "code": "a", "shelf": 5, "box": None, "word": None}
    assert (one.action, one.object_id, one.old, one.new) == ("INSERT", "1", None, first)
    assert (two.action, two.object_id) == ("INSERT", "2")
    assert (changed.action, changed.old, changed.new) == (
        "UPDATE",
        first,
        {"code": None, "box": 7},
    )
    assert [(g.action, g.object_id, g.new) for g in gone] == [
        ("DELETE", "1", None),
        ("DELETE", "2", None),
    ]
    assert gone[0].old == {**first, "code": None, "box": 7}


def test_an_update_that_changes_nothing_is_not_recorded(
    engine: Engine, raw: sqlite3.Connection
) -> None:
    raw.execute("INSERT INTO thing (id, word) VALUES (1, 'word')")
    raw.execute("UPDATE thing SET word = 'word', code = NULL")
    assert len(logged(engine)) == 1


def test_a_change_of_case_alone_is_recorded(engine: Engine, raw: sqlite3.Connection) -> None:
    raw.execute("INSERT INTO thing (id, word) VALUES (1, 'word')")
    raw.execute("UPDATE thing SET word = 'WORD'")
    raw.execute("UPDATE thing SET word = 'WORD '")
    assert [one.new for one in logged(engine)][1:] == [{"word": "WORD"}, {"word": "WORD "}]


def test_a_new_key_is_recorded_with_the_one_before(
    engine: Engine, raw: sqlite3.Connection
) -> None:
    raw.execute("INSERT INTO label VALUES ('a', NULL)")
    raw.execute("UPDATE label SET code = 'b'")
    changed = logged(engine)[-1]
    assert (changed.previous_id, changed.object_id, changed.new) == ("a", "b", {"code": "b"})


def test_each_statement_of_a_raw_client_is_a_transaction(
    engine: Engine, raw: sqlite3.Connection
) -> None:
    raw.execute("INSERT INTO thing (id) VALUES (1), (2), (3)")
    with engine.begin() as connection:
        # the time is all that tells statements apart
        connection.execute(text("UPDATE audit_transaction SET at = '2026-01-01 00:00:00.000000'"))
    raw.execute("UPDATE thing SET shelf = id")
    numbers = [one.transaction_id for one in logged(engine)]
    assert numbers == [1, 1, 1, 2, 2, 2]
    with engine.connect() as connection:
        found = connection.execute(text("SELECT at, actor, context FROM audit_transaction"))
        at = connection.scalars(text("SELECT at FROM audit_log ORDER BY id DESC")).first()
        assert found.all()[-1] == (at, None, None)


def test_what_foreign_keys_do_is_recorded(engine: Engine, raw: sqlite3.Connection) -> None:
    raw.execute("INSERT INTO thing (id) VALUES (1), (2)")
    raw.execute("INSERT INTO label VALUES ('a', 1), ('b', 2)")
    raw.execute("UPDATE thing SET id = 11 WHERE id = 1")
    raw.execute("DELETE FROM thing WHERE id = 2")
    assert in_any_order(happened(engine)[4:]) == in_any_order(
        [("UPDATE", "11"), ("UPDATE", "a"), ("DELETE", "2"), ("DELETE", "b")]
    )
    assert_replays(engine, raw)


def test_what_foreign_keys_do_in_one_table_is_recorded(
    engine: Engine, raw: sqlite3.Connection
) -> None:
    raw.execute("INSERT INTO tree VALUES (1, NULL, NULL), (2, 1, 1), (3, 2, NULL), (4, NULL, 3)")
    raw.execute("DELETE FROM tree WHERE id = 1")
    assert in_any_order(happened(engine)[4:]) == in_any_order(
        [("DELETE", "1"), ("DELETE", "2"), ("DELETE", "3"), ("UPDATE", "4")]
    ) or ("UPDATE", "2") in happened(engine)
    assert_replays(engine, raw)


# REPLACE


@pytest.fixture(params=["OFF", "ON"])
def replacing(request: pytest.FixtureRequest, raw: sqlite3.Connection) -> sqlite3.Connection:
    """Give a raw client whose REPLACE fires no DELETE triggers, and one whose does."""
    raw.execute(f"PRAGMA recursive_triggers = {request.param}")
    return raw


REPLACED: dict[str, tuple[str, str, list[tuple[str, str]]]] = {
    "by the primary key": (
        "INSERT INTO thing (id, code) VALUES (1, 'a')",
        "REPLACE INTO thing (id, code) VALUES (1, 'b')",
        [("DELETE", "1"), ("INSERT", "1")],
    ),
    "by a unique key": (
        "INSERT INTO thing (id, code) VALUES (1, 'a')",
        "INSERT OR REPLACE INTO thing (id, code) VALUES (2, 'a')",
        [("DELETE", "1"), ("INSERT", "2")],
    ),
    "by a unique key, the id made by the database": (
        "INSERT INTO thing (id, code) VALUES (-1, 'x'), (1, 'a')",
        "INSERT OR REPLACE INTO thing (code) VALUES ('a')",
        [("DELETE", "1"), ("INSERT", "2")],
    ),
    "a row that has the id -1": (
        "INSERT INTO thing (id, code) VALUES (-1, 'x')",
        "INSERT OR REPLACE INTO thing (id, code) VALUES (-1, 'y')",
        [("DELETE", "-1"), ("INSERT", "-1")],
    ),
    "the row of the id -1, by another key": (
        "INSERT INTO thing (id, code) VALUES (-1, 'x')",
        "INSERT OR REPLACE INTO thing (code) VALUES ('x')",
        [("DELETE", "-1"), ("INSERT", "0")],
    ),
    "by several keys, several rows": (
        "INSERT INTO thing (id, code, shelf, box) VALUES (1, 'a', 1, 1), (2, 'b', 2, 2), "
        "(3, 'c', 3, 3)",
        "REPLACE INTO thing (id, code, shelf, box) VALUES (1, 'b', 3, 3)",
        [("DELETE", "1"), ("DELETE", "2"), ("DELETE", "3"), ("INSERT", "1")],
    ),
    "the same row again and again": (
        "INSERT INTO thing (id, code) VALUES (1, 'a')",
        "REPLACE INTO thing (id, code) VALUES (1, 'b'), (1, 'c')",
        [("DELETE", "1"), ("INSERT", "1"), ("DELETE", "1"), ("INSERT", "1")],
    ),
    "no row: NULL is not unique": (
        "INSERT INTO thing (id, shelf) VALUES (1, 1)",
        "REPLACE INTO thing (id, shelf) VALUES (2, 1)",
        [("INSERT", "2")],
    ),
    "a row without a rowid": (
        "INSERT INTO label VALUES ('a', NULL)",
        "REPLACE INTO label VALUES ('a', NULL)",
        [("DELETE", "a"), ("INSERT", "a")],
    ),
    "by the index of an expression": (
        "INSERT INTO guest (id, name) VALUES (1, 'Ann')",
        "REPLACE INTO guest (id, name) VALUES (2, 'aNN')",
        [("DELETE", "1"), ("INSERT", "2")],
    ),
    "by an index of some rows": (
        "INSERT INTO guest (id, name, mail) VALUES (1, 'Ann', 'm')",
        "REPLACE INTO guest (id, name, mail) VALUES (2, 'Bobby', 'm')",
        [("DELETE", "1"), ("INSERT", "2")],
    ),
    "no row, which is not among these": (
        "INSERT INTO guest (id, name, mail, is_gone) VALUES (1, 'Ann', 'm', 1)",
        "REPLACE INTO guest (id, name, mail) VALUES (2, 'Bobby', 'm')",
        [("INSERT", "2")],
    ),
    "no row, among which the new one is not": (
        "INSERT INTO guest (id, name, mail) VALUES (1, 'Ann', 'm')",
        "REPLACE INTO guest (id, name, mail, is_gone) VALUES (2, 'Bobby', 'm', 1)",
        [("INSERT", "2")],
    ),
    "by generated columns": (
        "INSERT INTO guest (id, name) VALUES (1, 'Ann')",
        "REPLACE INTO guest (id, name) VALUES (2, 'Amy')",
        [("DELETE", "1"), ("INSERT", "2")],
    ),
    "by a default in the place of NULL": (
        "INSERT INTO guest (id) VALUES (1)",
        "REPLACE INTO guest (id, name) VALUES (2, NULL)",
        [("DELETE", "1"), ("INSERT", "2")],
    ),
    "by UPDATE, the primary key": (
        "INSERT INTO thing (id, code) VALUES (1, 'a'), (2, 'b')",
        "UPDATE OR REPLACE thing SET id = 2 WHERE id = 1",
        [("DELETE", "2"), ("UPDATE", "2")],
    ),
    "by UPDATE, a unique key": (
        "INSERT INTO thing (id, code) VALUES (1, 'a'), (2, 'b')",
        "UPDATE OR REPLACE thing SET code = 'b' WHERE id = 1",
        [("DELETE", "2"), ("UPDATE", "1")],
    ),
    "by UPDATE, all to one": (
        "INSERT INTO thing (id, code) VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        "UPDATE OR REPLACE thing SET code = 'x'",
        [
            ("UPDATE", "1"),
            ("DELETE", "1"),
            ("UPDATE", "2"),
            ("DELETE", "2"),
            ("UPDATE", "3"),
        ],
    ),
    "an upsert": (
        "INSERT INTO thing (id, code) VALUES (1, 'a')",
        "INSERT INTO thing (id, code) VALUES (2, 'a') ON CONFLICT (code) DO UPDATE SET shelf = 3",
        [("UPDATE", "1")],
    ),
    "an upsert that changes the key": (
        "INSERT INTO thing (id, code) VALUES (1, 'a')",
        "INSERT INTO thing (id, code) VALUES (2, 'a') ON CONFLICT (code) DO UPDATE SET id = 9",
        [("UPDATE", "9")],
    ),
    "an upsert that does nothing": (
        "INSERT INTO thing (id, code) VALUES (1, 'a')",
        "INSERT INTO thing (id, code) VALUES (2, 'a'), (3, 'c') ON CONFLICT DO NOTHING",
        [("INSERT", "3")],
    ),
    "INSERT OR IGNORE": (
        "INSERT INTO thing (id, code) VALUES (1, 'a')",
        "INSERT OR IGNORE INTO thing (id, code) VALUES (2, 'a'), (1, 'b'), (3, 'c')",
        [("INSERT", "3")],
    ),
    "UPDATE OR IGNORE": (
        "INSERT INTO thing (id, code) VALUES (1, 'a'), (2, 'b')",
        "UPDATE OR IGNORE thing SET code = 'b', shelf = 1",
        [("UPDATE", "2")],
    ),
    "nothing, after a row was ignored": (
        "INSERT INTO thing (id, code) VALUES (1, 'a'), (2, 'b')",
        "INSERT OR IGNORE INTO thing (id, code) VALUES (1, 'b'); "
        "DELETE FROM thing WHERE id = 1; INSERT INTO thing (id) VALUES (1)",
        [("DELETE", "1"), ("INSERT", "1")],
    ),
}


@pytest.mark.parametrize("case", REPLACED, ids=list(REPLACED))
def test_what_a_replace_deletes_is_recorded(
    engine: Engine, replacing: sqlite3.Connection, case: str
) -> None:
    before, statement, expected = REPLACED[case]
    replacing.execute(before)
    count = len(logged(engine))
    replacing.executescript(statement)
    assert happened(engine)[count:] == expected
    assert_replays(engine, replacing)


def test_what_goes_with_a_replaced_row_is_recorded(
    engine: Engine, replacing: sqlite3.Connection
) -> None:
    replacing.execute("INSERT INTO tree VALUES (1, NULL, NULL), (2, 1, NULL), (3, NULL, 1)")
    replacing.execute("REPLACE INTO tree VALUES (1, NULL, NULL)")
    assert in_any_order(happened(engine)[3:]) == in_any_order(
        [("DELETE", "1"), ("DELETE", "2"), ("UPDATE", "3"), ("INSERT", "1")]
    )


def test_a_unique_column_that_is_not_recorded_replaces_too(engine: Engine) -> None:
    audit_raw.create(engine, things, exclude=["thing.code"])
    for raw in _raw(engine):
        raw.execute("INSERT INTO thing (id, code) VALUES (1, 'a'), (2, 'b')")
        raw.execute("UPDATE OR REPLACE thing SET code = 'b' WHERE id = 1")
        raw.execute("UPDATE thing SET code = 'c'")
        assert happened(engine)[2:] == [("DELETE", "2")]


def test_any_statements_can_be_replayed(engine: Engine, replacing: sqlite3.Connection) -> None:
    chance = random.Random(7)
    conflict = ["", "", "OR REPLACE", "OR REPLACE", "OR IGNORE", "OR FAIL"]
    upsert = ["", "ON CONFLICT DO NOTHING", "ON CONFLICT DO UPDATE SET shelf = 4, id = 5"]
    for _ in range(1500):
        id_, code, shelf, box, other = (chance.choice([1, 2, 3, 4, None]) for _ in range(5))
        how = chance.choice(conflict)
        statement = chance.choice(
            [
                f"INSERT {how} INTO thing VALUES (:id, :code, :shelf, :box, :other), "
                "(:other, :id, :box, :shelf, NULL)",
                f"UPDATE {how} thing SET id = ifnull(:id, id), code = :code WHERE shelf = :other",
                f"UPDATE {how} thing SET shelf = :shelf, box = :box WHERE id <= :other",
                "DELETE FROM thing WHERE id = :other",
                "INSERT INTO thing VALUES (:id, :code, :shelf, :box, NULL) "
                + chance.choice(upsert),
            ]
        )
        values = {"id": id_, "code": code, "shelf": shelf, "box": box, "other": other}
        try:
            replacing.execute(statement, values)
        except sqlite3.IntegrityError:
            continue
    assert len(logged(engine)) > 500
    assert_replays(engine, replacing)


def assert_replays(engine: Engine, raw: sqlite3.Connection) -> None:
    """Compare the rows that there are with those that there should be, by the audit."""
    replayed = replay(logged(engine))
    for table in things.sorted_tables:
        names = [column.name for column in table.columns]
        found = [dict(zip(names, r, strict=True)) for r in raw.execute(f"SELECT * FROM {table}")]
        for row in found:
            if "is_gone" in row:
                row["is_gone"] = bool(row["is_gone"])
        assert in_any_order(found) == in_any_order(replayed.get(table.name, {}).values())


def in_any_order(found: Any) -> list[Any]:
    return sorted(found, key=repr)


# The form of values


kinds = MetaData()
NUMERICS = {"n0": 0, "n2": 2, "n6": 6, "n": None}
kind = Table(
    "kind",
    kinds,
    Column("id", Integer, primary_key=True),
    Column("integer", Integer),
    Column("real", Double),
    Column("text", Text),
    Column("blob", LargeBinary),
    Column("flag", Boolean),
    Column("data", JSON),
    Column("at", DateTime),
    *(Column(name, Numeric(40, scale)) for name, scale in NUMERICS.items()),
)


@pytest.fixture
def kinds_engine(engine: Engine) -> Engine:
    audit_raw.create(engine, kinds)
    return engine


def stored(engine: Engine, column: str, values: list[Any]) -> list[Any]:
    """Store values by a raw client, and return what is recorded of them."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM kind"))
        connection.execute(text("DELETE FROM audit_log"))
    for raw in _raw(engine):
        raw.execute("BEGIN")
        raw.executemany(f'INSERT INTO kind ("{column}") VALUES (?)', [(one,) for one in values])
        raw.execute("COMMIT")
    return [one.new[column] for one in logged(engine)]


@pytest.mark.parametrize("column", ["integer", "real", "text", "blob", "flag", "data", "at"])
def test_a_value_of_any_kind_may_stand_in_any_column(kinds_engine: Engine, column: str) -> None:
    values = ["word", "1\0é🙂\"'\\\n\x1f", "", b"\x00\xff", b"", 2**62 + 1, -(2**63), 0.5, None]
    with kinds_engine.connect() as connection:
        found = stored(kinds_engine, column, values)
        kept = connection.scalars(text(f'SELECT "{column}" FROM kind ORDER BY id')).all()
    assert found == [one.hex() if isinstance(one, bytes) else one for one in kept]
    assert [type(one) for one in found if one is not None] == [
        str if isinstance(one, bytes) else type(one) for one in kept if one is not None
    ]


def test_numbers_beyond_all_numbers_are_words(kinds_engine: Engine) -> None:
    found = stored(kinds_engine, "real", [math.inf, -math.inf, math.nan])
    assert found == ["Infinity", "-Infinity", None]  # SQLite stores NaN as NULL


def test_a_boolean_is_true_or_false(kinds_engine: Engine) -> None:
    assert stored(kinds_engine, "flag", [0, 1, 2]) == [False, True, 2]
    assert stored(kinds_engine, "flag", [True])[0] is True


def test_json_is_nested_where_it_is_json(kinds_engine: Engine) -> None:
    texts = ['{"a": [1, null, "é"]}', "[]", '"word"', "null", "true", "1.5", "{no json", "NaN"]
    expected = [{"a": [1, None, "é"]}, [], "word", None, True, 1.5, "{no json", "NaN"]
    assert stored(kinds_engine, "data", texts) == expected


def test_a_double_keeps_all_of_its_digits(kinds_engine: Engine) -> None:
    chance = random.Random(1)
    values = [struct.unpack("d", chance.randbytes(8))[0] for _ in range(5000)]
    values += [chance.uniform(-1e6, 1e6) for _ in range(5000)]
    values += [1.7976931348623157e308, 5e-324, 2.2250738585072014e-308, 0.1 + 0.2, 1e22, -0.5]
    values = [one for one in values if math.isfinite(one)]
    assert stored(kinds_engine, "real", values) == values


@pytest.mark.parametrize("column", NUMERICS)
def test_a_decimal_is_the_digits_that_sqlalchemy_loads(kinds_engine: Engine, column: str) -> None:
    chance = random.Random(2)
    values = [round(chance.uniform(-1e4, 1e4), chance.randrange(7)) for _ in range(3000)]
    values += [chance.randrange(-4000, 4000) / 32 for _ in range(3000)]  # half of them are ties
    values += [12345678901234.567890, 19.9, 0.5, 1.5, 0.999999999, -0.000001, 5.0, 2.0**60, 3.0]
    found = stored(kinds_engine, column, values)
    with kinds_engine.connect() as connection:
        loaded = connection.scalars(select(kind.c[column]).order_by(kind.c.id)).all()
    assert [Decimal(one) for one in found] == loaded
    assert all(isinstance(one, str) for one in found)
    assert found[values.index(19.9)] == {"n0": "20", "n2": "19.90", "n6": "19.900000"}.get(
        column, "19.9000000000"
    )


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text())
def test_any_text_is_recorded_as_it_is(kinds_engine: Engine, word: str) -> None:
    assert stored(kinds_engine, "text", [word]) == [word]


# Odd tables


def test_names_may_be_odd(engine: Engine) -> None:
    odd = MetaData()
    names = ['qu"ote', "it's", "back\\slash", "select", "per%cent :colon ?", "é🙂", "a b", "`x`"]
    for name in names:
        Table(
            f"table {name}",
            odd,
            Column(f"key {name}", String, primary_key=True),
            *(Column(one, String, unique=True) for one in names),
        )
    audit_raw.create(engine, odd)
    for table in odd.sorted_tables:
        row = {column.key: f"'{column.key}'" for column in table.columns}
        with engine.begin() as connection:
            connection.execute(table.insert(), [row])
            connection.execute(table.update(), {names[0]: "other"})
            connection.execute(table.delete())
        added, changed, gone = logged(engine)[-3:]
        assert (added.table, added.object_id, added.new) == (
            table.name,
            f"'key {table.name[6:]}'",
            row,
        )
        assert (changed.old, changed.new) == (row, {names[0]: "other"})
        assert gone.old == {**row, names[0]: "other"}


def test_long_names_are_told_apart(engine: Engine) -> None:
    long = MetaData()
    for end in "ab":
        Table(f"{'long' * 20}{end}", long, Column("id", Integer, primary_key=True))
    audit_raw.create(engine, long)
    for raw in _raw(engine):
        for table in long.sorted_tables:
            raw.execute(f"INSERT INTO {table.name} VALUES (1)")
    assert [one.table for one in logged(engine)] == [one.name for one in long.sorted_tables]


def test_a_table_may_have_many_columns(engine: Engine) -> None:
    wide = MetaData()
    columns = [Column(f"c{number}", Integer) for number in range(700)]
    Table("wide", wide, Column("id", Integer, primary_key=True), *columns)
    audit_raw.create(engine, wide)
    for raw in _raw(engine):
        raw.execute("INSERT INTO wide (id, c3) VALUES (1, 3)")
        raw.execute("UPDATE wide SET c699 = 7, c3 = NULL")
    added, changed = logged(engine)
    assert len(added.new) == 701
    assert changed.new == {"c3": None, "c699": 7}


def test_a_table_may_have_no_declared_types(engine: Engine) -> None:
    loose = MetaData()
    Table("loose", loose, Column("a", NullType, primary_key=True), Column("b", NullType))
    coverage = Coverage(loose)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE loose (a PRIMARY KEY, b)"))
    audit_raw.create(engine, loose)
    for raw in _raw(engine):
        values: list[Any] = [1, "1", 1.5, b"\x01", "word", 2**60]
        raw.executemany("INSERT INTO loose VALUES (?, 0)", [(one,) for one in values])
        raw.execute("UPDATE loose SET b = '0'")
    assert coverage
    keys = [key for _, key in happened(engine)]
    assert keys == ["1", "1", "1.5", "01", "word", str(2**60)] * 2
    assert {json.dumps(one.new["b"]) for one in logged(engine)} == {"0", '"0"'}


def test_generated_columns_are_recorded(engine: Engine, raw: sqlite3.Connection) -> None:
    raw.execute("INSERT INTO guest (id, name) VALUES (1, 'Ann')")
    raw.execute("UPDATE guest SET name = 'Bobby'")
    added, changed = logged(engine)
    assert (added.new["initial"], added.new["size"]) == ("A", 3)
    assert changed.new == {"name": "Bobby", "initial": "B", "size": 5}


def test_a_client_that_trusts_no_schema_is_recorded_or_refused(
    engine: Engine, raw: sqlite3.Connection
) -> None:
    raw.execute("PRAGMA trusted_schema = OFF")
    with suppress(sqlite3.OperationalError):
        raw.execute("INSERT INTO thing (id) VALUES (1)")
    assert_replays(engine, raw)


# Transactions


def test_what_is_rolled_back_is_not_recorded(engine: Engine, raw: sqlite3.Connection) -> None:
    raw.execute("BEGIN")
    raw.execute("INSERT INTO thing (id) VALUES (1)")
    raw.execute("SAVEPOINT s")
    raw.execute("INSERT INTO thing (id) VALUES (2)")
    raw.execute("ROLLBACK TO s")
    raw.execute("INSERT INTO thing (id) VALUES (3)")
    raw.execute("COMMIT")
    raw.execute("BEGIN")
    raw.execute("INSERT INTO thing (id) VALUES (4)")
    raw.execute("ROLLBACK")
    assert happened(engine) == [("INSERT", "1"), ("INSERT", "3")]
    with pytest.raises(sqlite3.IntegrityError):
        raw.execute("INSERT INTO thing (id) VALUES (5), (5)")
    assert len(happened(engine)) == 2


def test_insert_or_fail_records_what_it_leaves(engine: Engine, raw: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        raw.execute("INSERT OR FAIL INTO thing (id) VALUES (5), (5), (6)")
    assert happened(engine) == [("INSERT", "5")]


@pytest.mark.parametrize("how", ["", "OR IGNORE", "OR REPLACE", "OR FAIL"])
@pytest.mark.parametrize(
    "harm",
    [
        "DROP TABLE audit_log",
        "DROP TABLE audit_transaction",
        "DROP TABLE audit_context",
        "CREATE TRIGGER t BEFORE INSERT ON audit_log BEGIN SELECT RAISE(IGNORE); END",
        "CREATE UNIQUE INDEX i ON audit_log (action)",
    ],
)
def test_what_cannot_be_recorded_is_not_done(
    engine: Engine, raw: sqlite3.Connection, how: str, harm: str
) -> None:
    raw.execute("INSERT INTO thing (id) VALUES (1)")
    raw.execute(harm)
    if "UNIQUE" in harm and how in {"OR REPLACE", "OR FAIL"}:
        return  # SQLite has triggers do the same: who may make that index can forge records, too
    try:
        raw.execute(f"INSERT {how} INTO thing (id) VALUES (2)")
    except sqlite3.Error:
        pass
    else:
        assert "RAISE(IGNORE)" in harm  # that is no error
    assert raw.execute("SELECT id FROM thing").fetchall() == [(1,)]


def test_a_full_database_stops_the_change(engine: Engine, raw: sqlite3.Connection) -> None:
    raw.execute("INSERT INTO thing (id) VALUES (1)")
    (pages,) = raw.execute("PRAGMA page_count").fetchone()
    raw.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        for _ in range(10_000):
            raw.execute("UPDATE thing SET shelf = coalesce(shelf, 0) + 1")
    shelf = raw.execute("SELECT shelf FROM thing").fetchone()[0]
    assert len(logged(engine)) == 1 + shelf


# Other clients


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="there is no sqlite3 on the PATH")
def test_the_command_line_is_recorded(engine: Engine, raw: sqlite3.Connection) -> None:
    raw.close()
    script = """
    INSERT INTO thing (id, code) VALUES (1, 'é'), (2, 'b');
    REPLACE INTO thing (id, code) VALUES (3, 'b');
    UPDATE thing SET code = upper(code);
    DELETE FROM thing;
    """
    database = engine.url.database or ""
    subprocess.run(["sqlite3", "-bail", database], input=script, text=True, check=True)
    assert happened(engine) == [
        *(("INSERT", "1"), ("INSERT", "2"), ("DELETE", "2"), ("INSERT", "3")),
        *(("UPDATE", "3"), ("DELETE", "1"), ("DELETE", "3")),
    ]


# What is there


def test_what_is_there_is_known_by_its_digest(engine: Engine) -> None:
    coverage = audit_raw.create(engine, things)
    wanted = [*sqlite.shared(coverage)]
    for covered in coverage:
        wanted += sqlite.of(covered, coverage)
    with engine.begin() as connection:
        assert sqlite.present(connection, coverage) == {one.key: one.digest for one in wanted}


def test_what_somebody_has_changed_has_no_digest(engine: Engine, raw: sqlite3.Connection) -> None:
    coverage = Coverage(things)
    ((sql,),) = raw.execute(
        "SELECT sql FROM sqlite_master WHERE name = 'sessionwise_audit_delete_thing'"
    )
    raw.execute("DROP TRIGGER sessionwise_audit_delete_thing")
    raw.execute(sql.replace("BEGIN", "WHEN old.id > 1\nBEGIN", 1))
    raw.execute("ALTER TABLE label RENAME COLUMN code TO sign")
    with engine.connect() as connection:
        present = sqlite.present(connection, coverage)
    unknown = {name for (_, name, _), digest in present.items() if digest is None}
    labels = {name for _, name, table in present if table == "label"}
    assert unknown == {"sessionwise_audit_delete_thing"} | labels


def test_what_is_left_over_can_be_removed(engine: Engine, raw: sqlite3.Connection) -> None:
    with engine.begin() as connection:
        for key in sqlite.present(connection, Coverage(MetaData())):
            send(connection, sqlite.removal(key))
        assert sqlite.present(connection, Coverage(things)) == {}


def test_rows_that_were_there_are_recorded_once(engine: Engine, raw: sqlite3.Connection) -> None:
    raw.execute("INSERT INTO guest (id, name) VALUES (1, 'Ann'), (2, 'Bobby')")
    before = logged(engine)
    raw.execute("DELETE FROM audit_log WHERE object_id = '2'")
    (covered,) = Coverage(things).named("guest")
    for _ in range(2):
        with engine.begin() as connection:
            connection.execute(text(sqlite.backfill(covered)), {"transaction_id": 77})
    assert [(one.object_id, one.new) for one in logged(engine)] == [
        (one.object_id, one.new) for one in before
    ]
    assert logged(engine)[-1].transaction_id == 77


@pytest.mark.parametrize("options", [{"redact": ["accounts.email"]}, {}])
def test_what_triggers_cannot_record_is_refused(options: dict[str, Any]) -> None:
    metadata = MetaData()
    schema = None if options else "other"
    columns = Column("id", Integer, primary_key=True), Column("email", String)
    table = Table("accounts", metadata, *columns, schema=schema)
    coverage = Coverage(metadata, **options)
    covered = coverage.of(table)
    assert covered is not None
    with pytest.raises(UnsupportedError, match=r'accounts.*capture="session"'):
        sqlite.of(covered, coverage)


def test_the_cautions_are_sentences() -> None:
    assert all("recorded" in one for one in sqlite.cautions(Coverage(things)))


# Sessions


@pytest.fixture
def audited(db: Any) -> Iterator[Any]:
    archive.Base.metadata.drop_all(db.observer)
    METADATA.drop_all(db.observer)
    audit_raw.create(db.observer, archive.Base.metadata)
    yield db
    with db.observer.begin() as connection:
        for name in ("audit_context", "audit_replaced"):
            connection.execute(text(f"DROP TABLE {name}"))
    archive.Base.metadata.drop_all(db.observer)
    METADATA.drop_all(db.observer)


PLENTY = {
    "id": 1,
    "flag": True,
    "big": 2**62 + 1,
    "real": 0.1 + 0.2,
    "price": "12345678901234.568359",  # a double, which is what SQLAlchemy stores
    "words": archive.PLENTY["words"],
    "raw": "00ff27225c616263",
    "day": "2026-02-28",
    "at": "2026-01-02 03:04:05.678901",
    "zoned": "2026-01-02 03:04:05.678901",
    "hour": "23:59:58.123456",
    "span": "1970-01-04 04:00:00.000005",
    "key": "12345678123456789234567812345678",
    "data": {"a": [1, 2.5, None, "é"], "b": {"c": True}},
    "colour": "green",
    "shout": "QUIET",
}
EDGES = {
    **dict.fromkeys(PLENTY),
    "id": 2,
    "flag": False,
    "big": -(2**63),
    "real": -1.7976931348623157e308,
    "price": "-0.000001",
    "words": "",
    "raw": "",
    "at": "1970-01-01 00:00:00.000000",
    "zoned": "1999-12-31 23:59:59.000000",
    "hour": "00:00:00.000000",
    "span": "1970-01-01 00:00:00.000000",
    "data": [],
    "shout": "",
}
NOTHING = {**dict.fromkeys(PLENTY), "id": 3}


@on("sqlite")
def test_a_session_s_values_have_the_form(audited: Any) -> None:

    audit = Audit(archive.Base.metadata, capture="trigger")
    with audited.session(audit=audit) as session:
        for number, values in enumerate([archive.PLENTY, archive.EDGES, archive.NOTHING], 1):
            session.add(archive.Sample(id=number, **values))
        session.commit()
    with audited.observer.connect() as connection:
        found = log(connection)
        loaded = connection.execute(select(archive.Sample.__table__)).all()
    assert [one.new for one in found] == [PLENTY, EDGES, NOTHING]
    assert Decimal(PLENTY["price"]) == loaded[0].price
    assert {one.transaction_id for one in found} == {1}


@on("sqlite")
def test_who_was_at_work_is_not_kept_for_a_raw_client(audited: Any) -> None:

    audit = Audit(archive.Base.metadata, capture="trigger")
    with actor("ann", reason="é", tags=[1]), audited.session(audit=audit) as session:
        session.add(archive.Tag(id=1, name="a"))
        session.flush()
        with session.begin_nested() as savepoint:
            session.add(archive.Tag(id=2, name="b"))
            session.flush()
            savepoint.rollback()
        session.add(archive.Tag(id=3, name="c"))
        session.commit()
        session.add(archive.Tag(id=4, name="c"))
        session.flush()
        session.rollback()
    for raw in _raw(audited.observer):
        raw.execute("INSERT INTO tags VALUES (5, 'e')")
    with audited.observer.connect() as connection:
        records = log(connection)
        transactions = connection.execute(
            text("SELECT id, actor, reason, context FROM audit_transaction ORDER BY id")
        ).all()
    assert [(one.object_id, one.transaction_id) for one in records] == [
        ("1", 1),
        ("3", 1),
        ("5", 2),
    ]
    assert [tuple(one) for one in transactions] == [
        (1, "ann", "é", '{"tags":[1]}'),
        (2, None, None, None),
    ]

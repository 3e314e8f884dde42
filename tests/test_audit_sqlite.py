"""SQLite's triggers: REPLACE, values of any type in any column, and what it may refuse."""

from __future__ import annotations

import json
import math
import random
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Computed,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    func,
    text,
)
from sqlalchemy.types import NullType

from sessionwise.audit import Audit
from sessionwise.audit.coverage import Coverage
from sessionwise.audit.triggers import sqlite
from sessionwise.errors import UnsupportedError
from tests import triggered
from tests.triggered import (
    Client,
    audited,
    empty,
    happened,
    in_order,
    kinds,
    logged,
    stored,
    things,
)

shelf = MetaData()
for table in things.sorted_tables:
    table.to_metadata(shelf)
guest = Table(
    "guest",
    shelf,
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


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path_factory.mktemp('audited') / 'shared.db'}")
    with audited(made, shelf):
        yield made
    made.dispose()


@pytest.fixture
def engine(shared: Engine) -> Engine:
    """Give a database whose things and guests are audited, and gone."""
    empty(shared, shelf)
    return shared


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Engine]:
    """Give a database that has nothing, and may be harmed."""
    made = create_engine(f"sqlite:///{tmp_path / 'own.db'}")
    yield made
    made.dispose()


def install(engine: Engine, metadata: MetaData, **options: Any) -> Client:
    metadata.create_all(engine)
    Audit(metadata, capture="trigger", **options).install(engine)
    return Client(engine)


def assert_replays(engine: Engine) -> None:
    triggered.assert_replays(engine, shelf)


# REPLACE


@pytest.fixture(params=["OFF", "ON"])
def replacing(request: pytest.FixtureRequest, raw: Client) -> Client:
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
        "INSERT INTO label (code) VALUES ('a')",
        "REPLACE INTO label (code) VALUES ('a')",
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
def test_what_a_replace_deletes_is_recorded(engine: Engine, replacing: Client, case: str) -> None:
    before, statement, expected = REPLACED[case]
    replacing.execute(before)
    count = len(logged(engine))
    replacing.execute(*statement.split("; "))
    done = [(action, key) for action, _, key in happened(engine)[count:]]
    assert in_order(done) == in_order(expected)  # of several keys SQLite takes any first
    assert_replays(engine)


def test_what_goes_with_a_replaced_row_is_recorded(engine: Engine, replacing: Client) -> None:
    replacing.execute("INSERT INTO tree VALUES (1, NULL, NULL), (2, 1, NULL), (3, NULL, 1)")
    replacing.execute("REPLACE INTO tree VALUES (1, NULL, NULL)")
    assert in_order(happened(engine)[3:]) == in_order(
        [
            *(("DELETE", "tree", "1"), ("DELETE", "tree", "2")),
            *(("UPDATE", "tree", "3"), ("INSERT", "tree", "1")),
        ]
    )


def test_a_unique_column_that_is_not_recorded_replaces_too(own: Engine) -> None:
    with install(own, things, exclude=["thing.code"]) as raw:
        raw.execute("INSERT INTO thing (id, code) VALUES (1, 'a'), (2, 'b')")
        raw.execute("UPDATE OR REPLACE thing SET code = 'b' WHERE id = 1")
        raw.execute("UPDATE thing SET code = 'c'")
        assert happened(own)[2:] == [("DELETE", "thing", "2")]


def test_any_statements_can_be_replayed(engine: Engine, replacing: Client) -> None:
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
            replacing.connection.execute(statement, values)
        except sqlite3.IntegrityError:
            continue
    assert len(logged(engine)) > 500
    assert_replays(engine)


# The form of values


@pytest.fixture
def plain(own: Engine) -> Iterator[Client]:
    """Give a raw client, the table of all kinds of values audited."""
    with install(own, kinds) as client:
        yield client


@pytest.mark.parametrize("column", ["big", "ratio", "words", "raw", "flag", "data", "at"])
def test_a_value_of_any_kind_may_stand_in_any_column(
    own: Engine, plain: Client, column: str
) -> None:
    values = ["word", "1\0é🙂\"'\\\n\x1f", "", b"\x00\xff", b"", 2**62 + 1, -(2**63), 0.5, None]
    found = stored(own, plain, column, values)
    kept = [value for (value,) in plain.ask(f"SELECT {column} FROM kind ORDER BY id")]
    assert found == [one.hex() if isinstance(one, bytes) else one for one in kept]
    assert [type(one) for one in found if one is not None] == [
        str if isinstance(one, bytes) else type(one) for one in kept if one is not None
    ]


def test_numbers_beyond_all_numbers_are_words(own: Engine, plain: Client) -> None:
    found = stored(own, plain, "ratio", [math.inf, -math.inf, math.nan])
    assert found == ["Infinity", "-Infinity", None]  # SQLite stores NaN as NULL


def test_a_boolean_is_true_or_false(own: Engine, plain: Client) -> None:
    assert stored(own, plain, "flag", [0, 1, 2]) == [False, True, 2]
    assert stored(own, plain, "flag", [True])[0] is True


def test_json_is_nested_where_it_is_json(own: Engine, plain: Client) -> None:
    texts = ['{"a": [1, null, "é"]}', "[]", '"word"', "null", "true", "1.5", "{no json", "NaN"]
    expected = [{"a": [1, None, "é"]}, [], "word", None, True, 1.5, "{no json", "NaN"]
    assert stored(own, plain, "data", texts) == expected


# Odd tables and clients


def test_a_table_may_have_no_declared_types(own: Engine) -> None:
    loose = MetaData()
    Table("loose", loose, Column("a", NullType, primary_key=True), Column("b", NullType))
    with own.begin() as connection:
        connection.execute(text("CREATE TABLE loose (a PRIMARY KEY, b)"))  # SQLAlchemy cannot
    with install(own, loose) as raw:
        values: list[Any] = [1, "1", 1.5, b"\x01", "word", 2**60]
        raw.connection.executemany("INSERT INTO loose VALUES (?, 0)", [(one,) for one in values])
        raw.execute("UPDATE loose SET b = '0'")
    keys = [key for _, _, key in happened(own)]
    assert keys == ["1", "1", "1.5", "01", "word", str(2**60)] * 2
    assert {json.dumps(one.new["b"]) for one in logged(own)} == {"0", '"0"'}


def test_a_client_that_trusts_no_schema_is_recorded_or_refused(
    engine: Engine, raw: Client
) -> None:
    raw.execute("PRAGMA trusted_schema = OFF")
    with suppress(sqlite3.OperationalError):
        raw.execute("INSERT INTO thing (id) VALUES (1)")
    assert_replays(engine)


# Fail closed


@pytest.fixture
def apart(own: Engine) -> Iterator[Client]:
    """Give a raw client, the things and the guests audited in a database of its own."""
    with install(own, shelf) as client:
        yield client


def test_insert_or_fail_records_what_it_leaves(engine: Engine, raw: Client) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        raw.execute("INSERT OR FAIL INTO thing (id) VALUES (5), (5), (6)")
    assert happened(engine) == [("INSERT", "thing", "5")]


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
def test_what_cannot_be_recorded_is_not_done(apart: Client, how: str, harm: str) -> None:
    apart.execute("INSERT INTO thing (id) VALUES (1)")
    apart.execute(harm)
    if "UNIQUE" in harm and how in {"OR REPLACE", "OR FAIL"}:
        return  # SQLite has triggers do the same: who may make that index can forge records, too
    try:
        apart.execute(f"INSERT {how} INTO thing (id) VALUES (2)")
    except sqlite3.Error:
        pass
    else:
        assert "RAISE(IGNORE)" in harm  # that is no error
    assert apart.ask("SELECT id FROM thing") == [(1,)]


def test_a_full_database_stops_the_change(own: Engine, apart: Client) -> None:
    apart.execute("INSERT INTO thing (id) VALUES (1)")
    ((pages,),) = apart.ask("PRAGMA page_count")
    apart.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        for _ in range(10_000):
            apart.execute("UPDATE thing SET shelf = coalesce(shelf, 0) + 1")
    ((count,),) = apart.ask("SELECT shelf FROM thing")
    assert len(logged(own)) == 1 + count


# What is there


def test_what_somebody_has_changed_has_no_digest(own: Engine, apart: Client) -> None:
    coverage = Coverage(shelf)
    ((sql,),) = apart.ask(
        "SELECT sql FROM sqlite_master WHERE name = 'sessionwise_audit_delete_thing'"
    )
    apart.execute("DROP TRIGGER sessionwise_audit_delete_thing")
    apart.execute(sql.replace("BEGIN", "WHEN old.id > 1\nBEGIN", 1))
    apart.execute("ALTER TABLE label RENAME COLUMN code TO sign")
    with own.connect() as connection:
        present = sqlite.present(connection, coverage)
    unknown = {name for (_, name, _), digest in present.items() if digest is None}
    labels = {name for _, name, table in present if table == "label"}
    assert unknown == {"sessionwise_audit_delete_thing"} | labels


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

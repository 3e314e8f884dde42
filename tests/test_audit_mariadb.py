"""MariaDB's triggers: whatever any client does to a row is recorded once, in its form."""

from __future__ import annotations

import json
import math
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pymysql
import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Computed,
    Date,
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
    UniqueConstraint,
    Uuid,
    create_engine,
    text,
)
from sqlalchemy.dialects import mysql as types
from sqlalchemy.exc import IntegrityError

from sessionwise.audit import Audit, actor
from sessionwise.audit.coverage import Coverage
from sessionwise.audit.tables import METADATA
from sessionwise.audit.triggers import mysql
from sessionwise.audit.triggers.install import send
from sessionwise.errors import UnsupportedError
from tests import archive, audit_raw
from tests.audit_raw import brief, in_order, log, replay
from tests.audited import sendable
from tests.backends import on

things = MetaData()
thing = Table(
    "thing",
    things,
    Column("id", Integer, primary_key=True),
    Column("code", String(20), unique=True),
    Column("shelf", Integer),
    Column("box", Integer),
    Column("word", String(20, collation="utf8mb4_general_ci")),
    Column("twice", Integer, Computed("shelf * 2")),
    UniqueConstraint("shelf", "box"),
)
label = Table(
    "label",
    things,
    Column("code", String(20), primary_key=True),
    Column("thing_id", ForeignKey("thing.id", ondelete="CASCADE", onupdate="CASCADE")),
    Column("other_id", ForeignKey("thing.id", ondelete="SET NULL", onupdate="CASCADE")),
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


@pytest.fixture(scope="module")
def engine(database_servers: Any) -> Iterator[Engine]:
    made = create_engine(database_servers.url("mariadb").set(drivername="mariadb+pymysql"))
    METADATA.drop_all(made)
    yield made
    METADATA.drop_all(made)
    made.dispose()


@contextmanager
def audited(engine: Engine, metadata: MetaData, **options: Any) -> Iterator[Coverage]:
    """Audit the tables of a metadata for as long as the block lasts."""
    metadata.drop_all(engine)
    audit_raw.clear(engine)
    try:
        yield audit_raw.create(engine, metadata, **options)
    finally:
        metadata.drop_all(engine)
        audit_raw.clear(engine)


@contextmanager
def connected(engine: Engine, **options: Any) -> Iterator[Any]:
    """Give a raw client that commits each statement."""
    url = engine.url
    connection = pymysql.connect(
        host=url.host,
        port=url.port or 3306,
        user=url.username,
        password=url.password or "",
        database=url.database,
        autocommit=True,
        **{"charset": "utf8mb4", **options},
    )
    try:
        yield connection.cursor()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def with_things(engine: Engine) -> Iterator[Coverage]:
    with audited(engine, things) as coverage:
        yield coverage


@pytest.fixture
def raw(engine: Engine, with_things: Coverage) -> Iterator[Any]:
    """Give a raw client, the things audited and gone."""
    with connected(engine, local_infile=True) as cursor:
        cursor.execute("SET foreign_key_checks = 0")
        names = [*(one.name for one in things.sorted_tables), "audit_log", "audit_transaction"]
        for name in names:
            cursor.execute(f"DELETE FROM {name}")
        cursor.execute("SET foreign_key_checks = 1")
        yield cursor


def logged(engine: Engine) -> list[audit_raw.Logged]:
    with engine.connect() as connection:
        return log(connection)


def happened(engine: Engine) -> list[tuple[str, str, str | None]]:
    return brief(logged(engine))


def assert_replays(engine: Engine, metadata: MetaData = things) -> None:
    """Compare the rows that there are with those that there should be, by the audit."""
    replayed = replay(logged(engine))
    for table in metadata.sorted_tables:
        with engine.connect() as connection:
            found = audit_raw.rows(connection, table)
        assert in_order(found) == in_order(replayed.get(table.name, {}).values()), table


# Raw clients


def test_insert_update_and_delete_are_recorded(engine: Engine, raw: Any) -> None:
    raw.execute("INSERT INTO thing (id, code, shelf) VALUES (1, 'a', 5), (2, 'b', 5)")
    raw.execute("UPDATE thing SET code = NULL, shelf = 5, box = 7 WHERE id = 1")
    raw.execute("DELETE FROM thing ORDER BY id")
    one, two, changed, *gone = logged(engine)
    first = {"id": 1, "code": "a", "shelf": 5, "box": None, "word": None, "twice": 10}
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


def test_an_update_that_changes_nothing_is_not_recorded(engine: Engine, raw: Any) -> None:
    raw.execute("INSERT INTO thing (id, word) VALUES (1, 'word')")
    raw.execute("UPDATE thing SET word = 'word', code = NULL")
    assert len(logged(engine)) == 1


def test_a_change_of_case_or_of_blanks_alone_is_recorded(engine: Engine, raw: Any) -> None:
    raw.execute("INSERT INTO thing (id, word) VALUES (1, 'word')")
    for word in ("WORD", "WORD ", "WÖRD ", "WORD "):
        raw.execute("UPDATE thing SET word = %s", (word,))
    assert [one.new["word"] for one in logged(engine)][1:] == ["WORD", "WORD ", "WÖRD ", "WORD "]


def test_a_new_key_is_recorded_with_the_one_before(engine: Engine, raw: Any) -> None:
    raw.execute("INSERT INTO label (code) VALUES ('a')")
    raw.execute("UPDATE label SET code = 'A'")
    raw.execute("UPDATE label SET code = 'b'")
    first, second = logged(engine)[1:]
    assert (first.previous_id, first.object_id, first.new) == ("a", "A", {"code": "A"})
    assert (second.previous_id, second.object_id) == ("A", "b")


def test_each_statement_of_a_raw_client_is_a_transaction(engine: Engine, raw: Any) -> None:
    raw.execute("BEGIN")
    raw.execute("INSERT INTO thing (id) VALUES (1), (2), (3)")
    raw.execute("UPDATE thing SET shelf = id")
    raw.execute("COMMIT")
    first, second, third, *changes = [one.transaction_id for one in logged(engine)]
    assert first == second == third
    assert len({first, *changes}) == 2
    raw.execute("SELECT actor, context, native_id FROM audit_transaction")
    assert raw.fetchall() == ((None, None, None),) * 2


def test_moments_are_utc_whatever_the_zone(engine: Engine, raw: Any) -> None:
    for zone in ("+05:00", "-11:00", "SYSTEM"):
        raw.execute("SET time_zone = %s", (zone,))
        raw.execute("REPLACE INTO thing (id) VALUES (1)")
        raw.execute(
            "SELECT ABS(TIMESTAMPDIFF(SECOND, l.at, UTC_TIMESTAMP())) < 60, l.at = t.at "
            "FROM audit_log l JOIN audit_transaction t ON t.id = l.transaction_id"
        )
        assert set(raw.fetchall()) == {(1, 1)}


def test_a_statement_that_fails_leaves_no_trace(engine: Engine, raw: Any) -> None:
    raw.execute("BEGIN")
    with pytest.raises(pymysql.err.IntegrityError):
        raw.execute("INSERT INTO thing (id) VALUES (1), (1)")
    raw.execute("INSERT INTO thing (id) VALUES (1)")
    raw.execute("SAVEPOINT s")
    raw.execute("INSERT INTO thing (id) VALUES (2)")
    raw.execute("ROLLBACK TO s")
    raw.execute("INSERT INTO thing (id) VALUES (3)")
    raw.execute("COMMIT")
    raw.execute("BEGIN")
    raw.execute("INSERT INTO thing (id) VALUES (4)")
    raw.execute("ROLLBACK")
    assert [key for _, _, key in happened(engine)] == ["1", "3"]
    assert_transactions(raw, 2)


def test_the_variable_never_refers_to_a_row_that_is_gone(engine: Engine, raw: Any) -> None:
    raw.execute('SET @sessionwise_audit = \'{"actor": "ann"}\'')
    raw.execute("SET timestamp = 1700000000.5")  # all statements have the same time now
    raw.execute("BEGIN")
    raw.execute("SAVEPOINT s")
    raw.execute("INSERT INTO thing (id) VALUES (1)")
    raw.execute("ROLLBACK TO s")
    raw.execute("INSERT INTO thing (id) VALUES (2)")
    raw.execute("INSERT INTO thing (id) VALUES (3)")
    raw.execute("COMMIT")
    assert [key for _, _, key in happened(engine)] == ["2", "3"]
    assert_transactions(raw, 1)


def test_a_procedure_s_statements_are_recorded(engine: Engine, raw: Any) -> None:
    raw.execute(
        "CREATE PROCEDURE sessionwise_fill() BEGIN "
        "DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END; "
        "INSERT INTO thing (id) VALUES (1), (1); INSERT INTO thing (id) VALUES (2); END"
    )
    try:
        raw.execute("CALL sessionwise_fill()")
    finally:
        raw.execute("DROP PROCEDURE sessionwise_fill")
    assert [key for _, _, key in happened(engine)] == ["2"]
    assert_transactions(raw, 1)


def assert_transactions(raw: Any, count: int) -> None:
    """See that each record has its transaction, and there are no others."""
    raw.execute(
        "SELECT COUNT(DISTINCT l.transaction_id), COUNT(DISTINCT t.id), "
        "(SELECT COUNT(*) FROM audit_transaction) "
        "FROM audit_log l LEFT JOIN audit_transaction t ON t.id = l.transaction_id"
    )
    assert raw.fetchone() == (count, count, count)


def test_ids_that_are_made_are_the_application_s(engine: Engine, raw: Any) -> None:
    raw.execute("INSERT INTO thing (id) VALUES (41)")
    raw.execute("INSERT INTO thing (code) VALUES ('a'), ('b')")
    assert raw.lastrowid == 42
    raw.execute("SELECT LAST_INSERT_ID()")
    assert raw.fetchone() == (42,)


STATEMENTS: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "REPLACE": (
        "REPLACE INTO thing (id, code) VALUES (1, 'b')",
        [("DELETE", "thing", "2"), ("DELETE", "thing", "1"), ("INSERT", "thing", "1")],
    ),
    "INSERT IGNORE": (
        "INSERT IGNORE INTO thing (id, code) VALUES (1, 'x'), (9, 'x'), (10, 'a')",
        [("INSERT", "thing", "9")],
    ),
    "ON DUPLICATE KEY UPDATE": (
        "INSERT INTO thing (id, code) VALUES (1, 'x'), (9, 'b'), (3, 'c') "
        "ON DUPLICATE KEY UPDATE box = 7",
        [("UPDATE", "thing", "1"), ("UPDATE", "thing", "2"), ("INSERT", "thing", "3")],
    ),
    "ON DUPLICATE KEY UPDATE, nothing": (
        "INSERT INTO thing (id) VALUES (1) ON DUPLICATE KEY UPDATE id = thing.id",
        [],
    ),
    "INSERT … SELECT": (
        "INSERT INTO thing (id) SELECT id + 10 FROM thing ORDER BY id",
        [("INSERT", "thing", "11"), ("INSERT", "thing", "12")],
    ),
    "INSERT … RETURNING": (
        "INSERT INTO thing (id) VALUES (7) RETURNING id",
        [("INSERT", "thing", "7")],
    ),
    "an UPDATE of several tables": (
        "UPDATE thing t JOIN tree r ON r.id = t.id SET t.box = 8, r.beside = 1 WHERE t.id = 2",
        [("UPDATE", "thing", "2"), ("UPDATE", "tree", "2")],
    ),
    "a DELETE from several tables": (
        "DELETE t, r FROM thing t JOIN tree r ON r.id = t.id WHERE t.id = 2",
        [("DELETE", "thing", "2"), ("DELETE", "tree", "2")],
    ),
    "UPDATE IGNORE": ("UPDATE IGNORE thing SET code = 'a' WHERE id = 2", []),
    "in a view": (
        "UPDATE things_seen SET box = 3 WHERE id = 1",
        [("UPDATE", "thing", "1")],
    ),
}


@pytest.mark.parametrize("case", STATEMENTS, ids=list(STATEMENTS))
def test_each_statement_is_recorded_once(engine: Engine, raw: Any, case: str) -> None:
    statement, expected = STATEMENTS[case]
    raw.execute("INSERT INTO thing (id, code) VALUES (1, 'a'), (2, 'b')")
    raw.execute("INSERT INTO tree (id) VALUES (1), (2)")
    raw.execute("CREATE OR REPLACE VIEW things_seen AS SELECT * FROM thing")
    before = len(logged(engine))
    raw.execute(statement)
    raw.execute("DROP VIEW things_seen")
    assert in_order(happened(engine)[before:]) == in_order(expected)
    assert_replays(engine)


def test_load_data_is_recorded(engine: Engine, raw: Any, tmp_path: Path) -> None:
    file = tmp_path / "things.txt"
    file.write_text("1\ta\n2\té\n", encoding="utf-8")
    raw.execute(
        f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE thing CHARACTER SET utf8mb4 (id, code)"
    )
    assert [one.new["code"] for one in logged(engine)] == ["a", "é"]
    file.write_text("2\tb\n3\tc\n", encoding="utf-8")
    raw.execute(f"LOAD DATA LOCAL INFILE '{file}' REPLACE INTO TABLE thing (id, code)")
    assert_replays(engine)
    assert len(logged(engine)) == 5


# Foreign keys


def test_what_is_deleted_by_foreign_keys_is_recorded(engine: Engine, raw: Any) -> None:
    fill(raw)
    raw.execute("DELETE FROM thing WHERE id = 1")
    assert in_order(happened(engine)) == in_order(
        [
            ("DELETE", "thing", "1"),
            ("DELETE", "label", "a"),
            ("DELETE", "mark", '["a", "red"]'),
            ("DELETE", "dot", "1"),
            ("DELETE", "dot", "2"),
            ("UPDATE", "label", "b"),
        ]
    )
    changed = next(one for one in logged(engine) if one.action == "UPDATE")
    assert changed.old == {"code": "b", "thing_id": 2, "other_id": 1}
    assert changed.new == {"other_id": None}
    assert len({one.transaction_id for one in logged(engine)}) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM thing",
        "DELETE FROM thing ORDER BY id DESC",
        "DELETE thing FROM thing JOIN label ON label.thing_id = thing.id",
        "DELETE FROM thing WHERE id IN (SELECT thing_id FROM label)",
        "DELETE thing, label FROM thing LEFT JOIN label ON label.thing_id = thing.id",
        "DELETE FROM label",
        "DELETE FROM mark",
        "REPLACE INTO thing (id) VALUES (1)",
        "REPLACE INTO thing (id, code) VALUES (7, 'one')",
        "REPLACE INTO label (code) VALUES ('a')",
        "UPDATE thing SET id = id + 100",
        "UPDATE thing SET id = 77 WHERE id = 1",
        "UPDATE mark SET colour = 'RED'",
        "UPDATE mark SET colour = 'blue', code = 'b' WHERE code = 'a'",
        "INSERT INTO thing (id) VALUES (1) ON DUPLICATE KEY UPDATE id = 55",
    ],
)
def test_what_foreign_keys_do_can_be_replayed(engine: Engine, raw: Any, statement: str) -> None:
    fill(raw, recorded=True)
    raw.execute(statement)
    assert_replays(engine)


def fill(raw: Any, *, recorded: bool = False) -> None:
    raw.execute("INSERT INTO thing (id, code) VALUES (1, 'one'), (2, 'two'), (3, 'three')")
    raw.execute("INSERT INTO label VALUES ('a', 1, 2), ('b', 2, 1), ('c', 3, NULL)")
    raw.execute("INSERT INTO mark VALUES ('a', 'red'), ('c', 'red')")
    raw.execute(
        "INSERT INTO dot (id, code, colour, thing_id) VALUES (1, 'a', 'red', NULL), "
        "(2, NULL, NULL, 1), (3, 'c', 'red', 2)"
    )
    if not recorded:
        raw.execute("DELETE FROM audit_log")


def test_rows_that_refer_to_rows_of_their_table_are_recorded(engine: Engine, raw: Any) -> None:
    raw.execute("INSERT INTO tree VALUES (1, NULL, NULL), (2, 1, NULL), (3, 2, 1), (4, NULL, 3)")
    raw.execute("INSERT INTO leaf VALUES (1, 1), (2, 3), (3, 4)")
    raw.execute("DELETE FROM tree WHERE id = 1")
    assert_replays(engine)
    raw.execute("DELETE FROM tree")
    assert_replays(engine)


def test_what_is_not_deleted_after_all_is_not_recorded(engine: Engine, raw: Any) -> None:
    fill(raw, recorded=True)
    raw.execute("INSERT INTO dot (id, guard_id) VALUES (9, 1)")
    with pytest.raises(pymysql.err.IntegrityError):
        raw.execute("DELETE FROM thing")
    raw.execute("DELETE IGNORE FROM thing")
    raw.execute("SELECT id FROM thing")
    assert raw.fetchall() == ((1,),)
    assert_replays(engine)


def test_without_checks_foreign_keys_do_nothing(engine: Engine, raw: Any) -> None:
    fill(raw, recorded=True)
    raw.execute("SET foreign_key_checks = 0")
    raw.execute("DELETE FROM thing WHERE id = 1")
    raw.execute("UPDATE thing SET id = 22 WHERE id = 2")
    assert_replays(engine)


def test_a_parent_that_is_not_audited_records_its_children(engine: Engine, raw: Any) -> None:
    with audited(engine, things, tables=["dot", "leaf"]), connected(engine) as client:
        fill(client, recorded=True)
        client.execute("DELETE FROM thing WHERE id = 1")
        assert [one for one in happened(engine) if one[0] == "DELETE"] == [
            ("DELETE", "dot", "1"),
            ("DELETE", "dot", "2"),
        ]
        client.execute("SELECT COUNT(*) FROM audit_transaction")
        count = client.fetchone()
        client.execute("DELETE FROM thing WHERE id = 3")
        client.execute("INSERT INTO tree (id) VALUES (1)")
        client.execute("DELETE FROM tree")
        client.execute("SELECT COUNT(*) FROM audit_transaction")
        assert client.fetchone() == (count[0] + 1,)
    audit_raw.create(engine, things)


def test_what_foreign_keys_do_to_excluded_columns_is_not_recorded(engine: Engine) -> None:
    shop = MetaData()
    Table("owner", shop, Column("id", Integer, primary_key=True))
    key = ForeignKey("owner.id", ondelete="SET NULL", onupdate="CASCADE")
    Table("shop", shop, Column("id", Integer, primary_key=True), Column("owner", key))
    with audited(engine, shop, exclude=["shop.owner"]), connected(engine) as raw:
        raw.execute("INSERT INTO owner VALUES (1)")
        raw.execute("INSERT INTO shop VALUES (1, 1)")
        raw.execute("UPDATE owner SET id = 2")
        raw.execute("DELETE FROM owner")
        assert [table for _, table, _ in happened(engine)] == ["owner", "shop", "owner", "owner"]
        assert_transactions(raw, 4)


def test_foreign_keys_in_a_circle_are_refused() -> None:
    circle = MetaData()
    for name, other in (("hen", "egg"), ("egg", "hen")):
        key = ForeignKey(f"{other}.id", ondelete="CASCADE", use_alter=True, name=f"fk_{name}")
        Table(name, circle, Column("id", Integer, primary_key=True), Column("of", key))
    Table("yard", circle, Column("id", Integer, primary_key=True))
    for name, other in (("hen", "yard"), ("nest", "yard")):
        key = ForeignKey(f"{other}.id", ondelete="CASCADE")
        Table(name, circle, Column("yard", key, primary_key=True), extend_existing=True)
    coverage = Coverage(circle)
    hen, nest = coverage.named("hen")[0], coverage.named("nest")[0]
    assert len(mysql.of(nest, coverage)) == 4
    with pytest.raises(UnsupportedError, match=r'circle|around.*capture="session"'):
        mysql.of(hen, coverage)
    foreign = Table("a", circle, Column("id", Integer, primary_key=True), schema="elsewhere")
    with pytest.raises(UnsupportedError, match=r"elsewhere\.a .*exclude="):
        mysql.of(coverage.of(foreign), coverage)  # type: ignore[arg-type]


def test_on_update_set_null_is_refused() -> None:
    metadata = MetaData()
    Table("a", metadata, Column("id", Integer, primary_key=True))
    key = ForeignKey("a.id", onupdate="SET NULL")
    table = Table("b", metadata, Column("id", Integer, primary_key=True), Column("a", key))
    coverage = Coverage(metadata)
    with pytest.raises(UnsupportedError, match=r'^b has .*capture="session"'):
        mysql.of(coverage.of(table), coverage)  # type: ignore[arg-type]


def test_a_parent_in_another_database_is_refused() -> None:
    metadata = MetaData()
    Table("a", metadata, Column("id", Integer, primary_key=True), schema="elsewhere")
    key = ForeignKey("elsewhere.a.id", ondelete="CASCADE")
    table = Table("b", metadata, Column("id", Integer, primary_key=True), Column("a", key))
    coverage = Coverage(metadata)
    with pytest.raises(UnsupportedError, match=r'^b refers to elsewhere\.a .*capture="session"'):
        mysql.of(coverage.of(table), coverage)  # type: ignore[arg-type]


def test_tables_may_refer_to_each_other(engine: Engine) -> None:
    office = MetaData()
    head = ForeignKey("clerk.id", ondelete="SET NULL", use_alter=True, name="fk_head")
    Table("team", office, Column("id", Integer, primary_key=True), Column("head", head))
    team = ForeignKey("team.id", ondelete="CASCADE")
    Table("clerk", office, Column("id", Integer, primary_key=True), Column("team", team))
    with audited(engine, office), connected(engine) as raw:
        raw.execute("INSERT INTO team (id) VALUES (1), (2), (3)")
        raw.execute("INSERT INTO clerk VALUES (1, 1), (2, 2), (3, 1)")
        raw.execute("UPDATE team SET head = id")
        raw.execute("UPDATE team SET head = 1 WHERE id = 2")
        raw.execute("DELETE FROM clerk WHERE id = 3")
        assert_replays(engine, office)
        raw.execute("DELETE FROM team WHERE id = 1")
        assert_replays(engine, office)
        raw.execute("DELETE FROM team")
        assert_replays(engine, office)


def test_any_statements_can_be_replayed(engine: Engine, raw: Any) -> None:
    chance = random.Random(7)
    insert = ["INSERT", "INSERT IGNORE", "REPLACE"]
    update = ["UPDATE", "UPDATE IGNORE"]
    for _ in range(1200):
        a, b, c, d, e = (chance.choice(["1", "2", "3", "4", "NULL"]) for _ in range(5))
        statement = chance.choice(
            [
                f"{chance.choice(insert)} INTO thing (id, code, shelf, box) VALUES "
                f"({a}, {b}, {c}, {d}), ({e}, {a}, {d}, {c})",
                f"INSERT INTO thing (id, code) VALUES ({a}, {b}) "
                f"ON DUPLICATE KEY UPDATE shelf = {c}, id = IFNULL({d}, id)",
                f"{chance.choice(update)} thing SET id = IFNULL({a}, id), code = {b} "
                f"WHERE id = {c}",
                f"{chance.choice(['DELETE', 'DELETE IGNORE'])} FROM thing WHERE id = {a}",
                f"{chance.choice(insert)} INTO label VALUES ({a}, {b}, {c}), ({d}, {a}, {b})",
                f"{chance.choice(insert)} INTO mark VALUES ({a}, 'red')",
                f"{chance.choice(insert)} INTO dot VALUES ({a}, {b}, 'red', {c}, NULL)",
                f"{chance.choice(insert)} INTO dot VALUES ({a}, NULL, NULL, {c}, {d})",
                f"{chance.choice(insert)} INTO tree VALUES ({a}, {b}, {c})",
                f"{chance.choice(insert)} INTO leaf VALUES ({a}, {b})",
                f"DELETE FROM tree WHERE id = {a}",
                f"DELETE FROM label WHERE code = {a}",
            ]
        )
        with suppress(pymysql.err.MySQLError):
            raw.execute(statement)
    assert len(logged(engine)) > 500
    assert_replays(engine)


# The form of values


kinds = MetaData()
kind = Table(
    "kind",
    kinds,
    Column("id", Integer, primary_key=True),
    Column("tiny", types.TINYINT(1)),
    Column("flag", Boolean),
    Column("filled", types.INTEGER(8, zerofill=True, unsigned=True)),
    Column("huge", types.BIGINT(unsigned=True)),
    Column("single", types.FLOAT),
    Column("real", types.DOUBLE),
    Column("price", Numeric(30, 6)),
    Column("bits", types.BIT(10)),
    Column("year", types.YEAR),
    Column("moment", types.TIMESTAMP(fsp=6), nullable=True),
    Column("at", types.DATETIME(fsp=6)),
    Column("hour", types.TIME(fsp=6)),
    Column("day", Date),
    Column("some", types.SET("a", "b", "é")),
    Column("one", types.ENUM("x", "é", "")),
    Column("words", Text(collation="utf8mb4_general_ci")),
    Column("latin", String(50)),
    Column("data", JSON),
    Column("raw", LargeBinary),
    Column("fixed", types.BINARY(4)),
    Column("key", Uuid),
)

VALUES: list[tuple[str, str, Any]] = [
    ("tiny", "7", 7),
    ("flag", "TRUE", True),
    ("flag", "FALSE", False),
    ("filled", "42", 42),
    ("huge", "18446744073709551615", 2**64 - 1),
    ("single", "0.5", 0.5),
    ("single", "0.1", struct.unpack("f", struct.pack("f", 0.1))[0]),
    ("single", "16777217", 16777216.0),
    ("real", "0.1e0 + 0.2e0", 0.1 + 0.2),
    ("real", "1e22", 1e22),
    ("real", "-1.7976931348623157e308", -1.7976931348623157e308),
    ("real", "5e-324", 5e-324),
    ("real", "1e-7", 1e-7),
    ("price", "19.90", "19.900000"),
    ("price", "-0.000001", "-0.000001"),
    ("price", "123456789012345678901234.567891", "123456789012345678901234.567891"),
    ("bits", "b'1000000011'", 515),
    ("year", "2026", 2026),
    ("at", "'2026-01-02 03:04:05.678901'", "2026-01-02 03:04:05.678901"),
    ("at", "'0001-01-01'", "0001-01-01 00:00:00.000000"),
    ("hour", "'-838:59:59'", "-838:59:59.000000"),
    ("hour", "'23:59:58.123456'", "23:59:58.123456"),
    ("day", "'2026-02-28'", "2026-02-28"),
    ("some", "'a,é'", "a,é"),
    ("some", "''", ""),
    ("one", "'É'", "é"),
    (
        "words",
        r"""'a\0b\n\t\\"quoted" ''single'' é 🙂 /\Z%'""",
        "a\0b\n\t\\\"quoted\" 'single' é 🙂 /\x1a%",
    ),
    ("words", "''", ""),
    ("latin", "'é€ÿ'", "é€ÿ"),
    ("data", '\'{"a": [1, 2.50, null, "é"]}\'', {"a": [1, 2.5, None, "é"]}),
    ("data", "'\"word\"'", "word"),
    ("data", "'null'", None),
    ("raw", "x'00FF5C27'", "00ff5c27"),
    ("raw", "''", ""),
    ("fixed", "x'01'", "01000000"),
    ("key", "'12345678-1234-5678-9234-567812345678'", "12345678-1234-5678-9234-567812345678"),
]


@pytest.fixture(scope="module")
def with_kinds(engine: Engine) -> Iterator[None]:
    with audited(engine, kinds):
        with engine.begin() as connection:
            connection.execute(
                text("ALTER TABLE kind MODIFY latin VARCHAR(50) CHARACTER SET latin1")
            )
        yield


@pytest.mark.parametrize(
    ("column", "value", "form"), VALUES, ids=[f"{name}-{value}" for name, value, _ in VALUES]
)
def test_values_have_the_form(
    engine: Engine, with_kinds: None, column: str, value: str, form: Any
) -> None:
    with connected(engine) as raw:
        raw.execute("DELETE FROM kind")
        raw.execute("DELETE FROM audit_log")
        raw.execute("SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '-09:30'")
        raw.execute(f"INSERT INTO kind (id, `{column}`) VALUES (1, {value})")
        raw.execute(f"UPDATE kind SET `{column}` = NULL")
        raw.execute(f"UPDATE kind SET `{column}` = {value}")
    added, emptied, *changed = logged(engine)
    assert added.new == {**dict.fromkeys(added.new), "id": 1, column: form}
    assert list(added.new) == [one.name for one in kind.columns]
    assert isinstance(added.new[column], bool) == isinstance(form, bool)
    assert emptied.new == {column: None}
    assert [one.new for one in changed] == [{column: form}]


def test_a_timestamp_is_utc_in_any_zone(engine: Engine, with_kinds: None) -> None:
    with connected(engine) as raw:
        raw.execute("DELETE FROM kind")
        raw.execute("DELETE FROM audit_log")
        for number, zone in enumerate(("+00:00", "+05:30", "-11:00"), 1):
            raw.execute("SET time_zone = %s", (zone,))
            raw.execute(
                "INSERT INTO kind (id, moment) VALUES (%s, FROM_UNIXTIME(1700000000.123456))",
                (number,),
            )
            raw.execute("UPDATE kind SET moment = FROM_UNIXTIME(1700000000.123456)")
    assert [one.new["moment"] for one in logged(engine)] == [
        "2023-11-14 22:13:20.123456+00:00"
    ] * 3


@pytest.mark.parametrize("charset", ["utf8mb4", "latin1", "cp1251"])
def test_text_is_the_same_in_any_character_set(
    engine: Engine, with_kinds: None, charset: str
) -> None:
    with connected(engine) as raw:
        raw.execute("DELETE FROM kind")
        raw.execute("DELETE FROM audit_log")
        raw.execute("INSERT INTO kind (id, words, latin, one) VALUES (1, 'é🙂', 'é', 'é')")
    with connected(engine, charset=charset) as raw:
        raw.execute("UPDATE kind SET id = 2")
    changed = logged(engine)[-1]
    assert (changed.old["words"], changed.old["latin"], changed.old["one"]) == ("é🙂", "é", "é")
    assert changed.new == {"id": 2}


def test_a_double_keeps_all_of_its_digits(engine: Engine, with_kinds: None) -> None:
    chance = random.Random(1)
    values = [struct.unpack("d", chance.randbytes(8))[0] for _ in range(500)]
    values = [one for one in values if math.isfinite(one)]
    with connected(engine) as raw:
        raw.execute("DELETE FROM kind")
        raw.execute("DELETE FROM audit_log")
        raw.executemany("INSERT INTO kind (`real`) VALUES (%s)", [(repr(one),) for one in values])
        raw.execute("SELECT `real` FROM kind ORDER BY id")
        kept = [one for (one,) in raw.fetchall()]
    assert [one.new["real"] for one in logged(engine)] == kept == values


def test_a_change_of_the_smallest_is_recorded(engine: Engine, with_kinds: None) -> None:
    changes = [("data", "'[1]'", "'[1 ]'"), ("raw", "'a'", "'a '"), ("one", "''", "NULL")]
    changes += [("some", "'a'", "'a,é'"), ("hour", "'0:0:0'", "'0:0:0.000001'")]
    changes += [("real", "1", "1 + 2.220446049250313e-16"), ("words", "'e'", "'é'")]
    with connected(engine) as raw:
        raw.execute("DELETE FROM kind")
        raw.execute("DELETE FROM audit_log")
        raw.execute("INSERT INTO kind (id) VALUES (1)")
        for column, before, after in changes:
            raw.execute(f"UPDATE kind SET `{column}` = {before}")
            raw.execute(f"UPDATE kind SET `{column}` = {before}")
            raw.execute(f"UPDATE kind SET `{column}` = {after}")
    assert [list(one.new) for one in logged(engine)[1:]] == [
        [column] for column, _, _ in changes for _ in range(2)
    ]


# Odd tables


def test_names_may_be_odd(engine: Engine) -> None:
    odd = MetaData()
    names = ["ba`ck", "it's", 'quo"te', "back\\slash", "select", "per%cent :colon ?", "é", "a b"]
    for name in names:
        Table(
            f"table {name}",
            odd,
            Column(f"key {name}", String(30), primary_key=True),
            *(Column(one, String(30)) for one in names),
        )
    with audited(engine, odd):
        for table in odd.sorted_tables:
            row = {column.key: f"'{column.key}\\" for column in table.columns}
            with engine.begin() as connection:
                connection.execute(table.insert(), [row])
                connection.execute(table.update(), {names[0]: "other"})
                connection.execute(table.delete())
            added, changed, gone = logged(engine)[-3:]
            assert (added.table, added.object_id) == (table.name, f"'key {table.name[6:]}\\")
            assert added.new == row
            assert (changed.old, changed.new) == (row, {names[0]: "other"})
            assert gone.old == {**row, names[0]: "other"}


def test_long_names_are_told_apart(engine: Engine) -> None:
    long = MetaData()
    for end in "ab":
        Table(f"{'long' * 15}{end}", long, Column("id", Integer, primary_key=True))
    with audited(engine, long), connected(engine) as raw:
        for table in long.sorted_tables:
            raw.execute(f"INSERT INTO {table.name} VALUES (1)")
        assert [one.table for one in logged(engine)] == [one.name for one in long.sorted_tables]


def test_a_table_may_have_many_columns(engine: Engine) -> None:
    wide = MetaData()
    columns = [Column(f"c{number}", Integer) for number in range(400)]
    Table("wide", wide, Column("id", Integer, primary_key=True), *columns)
    with audited(engine, wide), connected(engine) as raw:
        raw.execute("INSERT INTO wide (id, c3) VALUES (1, 3)")
        raw.execute("UPDATE wide SET c399 = 7, c3 = NULL")
        added, changed = logged(engine)
    assert len(added.new) == 401
    assert changed.new == {"c3": None, "c399": 7}


@pytest.mark.parametrize("mode", ["ANSI", "NO_BACKSLASH_ESCAPES", ""])
def test_the_sql_mode_of_who_installs_does_not_matter(engine: Engine, mode: str) -> None:
    table = MetaData()
    Table("mo\\de", table, Column("id", Integer, primary_key=True), Column("w'\\", String(600)))
    with audited(engine, table) as coverage, engine.connect() as connection:
        connection.execute(text("SET sql_mode = :mode"), {"mode": mode})
        for covered in coverage:
            for artifact in mysql.of(covered, coverage):
                send(connection, artifact.create)
        assert connection.scalar(text("SELECT @@sql_mode")).endswith(mode)
        connection.execute(text("INSERT INTO `mo\\de` VALUES (1, 'x')"))
        assert set(mysql.present(connection, coverage).values()).isdisjoint({None})
        connection.commit()
        connection.invalidate()
        assert logged(engine)[0].new == {"id": 1, "w'\\": "x"}


# Fail closed


@pytest.mark.parametrize("statement", ["INSERT", "INSERT IGNORE", "REPLACE"])
@pytest.mark.parametrize(
    ("harm", "mend"),
    [
        ("RENAME TABLE audit_log TO gone", "RENAME TABLE gone TO audit_log"),
        ("RENAME TABLE audit_transaction TO gone", "RENAME TABLE gone TO audit_transaction"),
        (
            "ALTER TABLE audit_log MODIFY action VARCHAR(2) NOT NULL",
            "ALTER TABLE audit_log MODIFY action VARCHAR(8) NOT NULL",
        ),
        (
            "ALTER TABLE audit_log ADD CONSTRAINT no CHECK (transaction_id < 0)",
            "ALTER TABLE audit_log DROP CONSTRAINT no",
        ),
    ],
)
def test_what_cannot_be_recorded_is_not_done(
    engine: Engine, raw: Any, statement: str, harm: str, mend: str
) -> None:
    raw.execute("INSERT INTO thing (id) VALUES (10)")
    raw.execute("DELETE FROM audit_log")
    raw.execute("SET sql_mode = ''")
    raw.execute(harm)
    try:
        with pytest.raises(pymysql.err.MySQLError):
            raw.execute(f"{statement} INTO thing (id) VALUES (11)")
        with pytest.raises(pymysql.err.MySQLError):
            raw.execute("UPDATE IGNORE thing SET shelf = 1")
        with pytest.raises(pymysql.err.MySQLError):
            raw.execute("DELETE IGNORE FROM thing")
    finally:
        raw.execute(mend)
    raw.execute("SELECT id, shelf FROM thing")
    assert raw.fetchall() == ((10, None),)


def test_who_has_no_rights_on_the_audit_is_recorded(engine: Engine, raw: Any) -> None:
    database = engine.url.database
    raw.execute("CREATE OR REPLACE USER sessionwise_clerk@'%' IDENTIFIED BY 'secret'")
    for table in ("thing", "tree"):
        raw.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.{table} TO sessionwise_clerk@'%'"
        )
    try:
        clerk = {"user": "sessionwise_clerk", "password": "secret"}
        url = engine.url.set(username=clerk["user"], password=clerk["password"])
        other = create_engine(url)
        with other.begin() as connection:
            connection.execute(text("INSERT INTO thing (id) VALUES (1)"))
        with other.connect() as connection, pytest.raises(Exception, match="denied"):
            connection.execute(text("DELETE FROM audit_log"))
        other.dispose()
    finally:
        raw.execute("DROP USER sessionwise_clerk@'%'")
    assert happened(engine) == [("INSERT", "thing", "1")]


def test_what_is_too_large_to_be_recorded_is_refused(engine: Engine) -> None:
    metadata = MetaData()
    Table("film", metadata, Column("id", Integer, primary_key=True), Column("b", types.LONGBLOB))
    with audited(engine, metadata), connected(engine) as raw:
        raw.execute("SELECT @@max_allowed_packet DIV 3 * 2")
        (size,) = raw.fetchone()
        with pytest.raises(pymysql.err.OperationalError, match="max_allowed_packet"):
            raw.execute(f"INSERT IGNORE INTO film VALUES (1, REPEAT('a', {size}))")
        raw.execute("SELECT COUNT(*) FROM film")
        assert raw.fetchone() == (0,)


# Secrets


def test_of_a_redacted_column_there_is_a_hash(engine: Engine) -> None:
    safe = MetaData()
    Table(
        "safe",
        safe,
        Column("id", String(20), primary_key=True),
        Column("pin", String(50)),
        Column("number", Numeric(10, 2)),
        Column("key", LargeBinary),
        Column("of", ForeignKey("safe.id", ondelete="CASCADE")),
    )
    redact = ["safe.pin", "safe.number", "safe.key"]
    with audited(engine, safe, redact=redact) as coverage, connected(engine) as raw:
        raw.execute(
            "INSERT INTO safe VALUES ('a', 'é1', 5, x'00ff', NULL), ('b', NULL, 5, '', 'a')"
        )
        raw.execute("UPDATE safe SET pin = 'secret' WHERE id = 'b'")
        raw.execute("UPDATE safe SET id = 'c' WHERE id = 'b'")
        raw.execute("DELETE FROM safe WHERE id = 'a'")
        raw.execute("SELECT object_id, salt FROM audit_salt")
        salts = dict(raw.fetchall())
        first, second, third, fourth, *gone = logged(engine)
        raw.execute("DELETE FROM audit_log")
        raw.execute("INSERT INTO safe VALUES ('a', 'é1', NULL, NULL, NULL)")
        raw.execute("DELETE FROM audit_log")
        (covered,) = coverage
        with engine.begin() as connection:
            connection.execute(text(mysql.backfill(covered)), {"transaction_id": 7})
        (again,) = logged(engine)

    def hashed(key: str, value: bytes) -> dict[str, str]:
        return {"sha256": sha256(salts[key] + value).hexdigest()}

    assert set(salts) == {"a", "b", "c"}
    assert {len(one) for one in salts.values()} == {32}
    assert first.new == {
        "id": "a",
        "pin": hashed("a", "é1".encode()),
        "number": hashed("a", b"5.00"),
        "key": hashed("a", b"00ff"),
        "of": None,
    }
    assert second.new["pin"] is None
    assert second.new["number"] == hashed("b", b"5.00")
    assert third.new == {"pin": hashed("b", b"secret")}
    assert fourth.old["pin"] == hashed("b", b"secret")
    assert fourth.new == {"id": "c"}
    assert [one.object_id for one in gone] == ["c", "a"]
    assert gone[0].old["pin"] == hashed("c", b"secret")
    assert again.new["pin"] == first.new["pin"]


# Other clients


@pytest.mark.skipif(shutil.which("mariadb") is None, reason="there is no mariadb on the PATH")
@pytest.mark.parametrize("charset", ["utf8mb4", "latin1"])
def test_the_command_line_is_recorded(engine: Engine, raw: Any, charset: str) -> None:
    script = """
    INSERT INTO thing (id, code) VALUES (1, 'é'), (2, 'b');
    REPLACE INTO thing (id, code) VALUES (3, 'b');
    UPDATE thing SET shelf = 1, box = id;
    DELETE FROM thing ORDER BY id;
    """
    url = engine.url
    command = ["mariadb", "--no-defaults", f"--host={url.host}", f"--port={url.port or 3306}"]
    command += [f"--user={url.username}", f"--default-character-set={charset}", str(url.database)]
    if url.password:
        command.append(f"--password={url.password}")
    subprocess.run(
        command, input=script.encode("cp1252" if charset == "latin1" else "utf-8"), check=True
    )
    assert [(action, key) for action, _, key in happened(engine)] == [
        *(("INSERT", "1"), ("INSERT", "2"), ("DELETE", "2"), ("INSERT", "3")),
        *(("UPDATE", "1"), ("UPDATE", "3"), ("DELETE", "1"), ("DELETE", "3")),
    ]
    assert logged(engine)[0].new["code"] == "é"


# What is there


def test_what_is_there_is_known_by_its_digest(engine: Engine, with_things: Coverage) -> None:
    wanted = [*mysql.shared(with_things)]
    for covered in with_things:
        wanted += mysql.of(covered, with_things)
    with engine.connect() as connection:
        present = mysql.present(connection, with_things)
    assert {one.key: one.digest for one in wanted}.items() <= present.items()
    assert len(wanted) == 29


def test_what_somebody_has_changed_has_no_digest(engine: Engine) -> None:
    metadata = MetaData()
    Table("note", metadata, Column("id", Integer, primary_key=True))
    with audited(engine, metadata) as coverage, engine.begin() as connection:
        (covered,) = coverage
        delete = mysql.of(covered, coverage)[-1]
        create = delete.create[-1].replace(
            "INSERT INTO audit_log", "SET @x = 1; INSERT INTO audit_log"
        )
        send(connection, [*delete.drop, create])
        present = mysql.present(connection, coverage)
        notes = {key: digest for key, digest in present.items() if key[2] == "note"}
        assert [key[1] for key, digest in notes.items() if digest is None] == [delete.name]
        for key in notes:
            send(connection, mysql.removal(key))
        assert notes.keys().isdisjoint(mysql.present(connection, coverage))


def test_rows_that_were_there_are_recorded_once(engine: Engine, raw: Any) -> None:
    raw.execute("INSERT INTO thing (id, code) VALUES (1, 'a'), (2, 'b')")
    before = logged(engine)
    raw.execute("DELETE FROM audit_log WHERE object_id = '2'")
    (covered,) = Coverage(things).named("thing")
    for _ in range(2):
        with engine.begin() as connection:
            connection.execute(text(mysql.backfill(covered)), {"transaction_id": 77})
    assert [(one.object_id, one.new) for one in logged(engine)] == [
        (one.object_id, one.new) for one in before
    ]
    assert logged(engine)[-1].transaction_id == 77


def test_the_cautions_are_sentences() -> None:
    assert [one for one in mysql.cautions(Coverage(things)) if "TRUNCATE" in one]


# Sessions


PLENTY = {
    "id": 1,
    "flag": True,
    "big": 2**62 + 1,
    "real": 0.1 + 0.2,
    "price": "12345678901234.567890",
    "words": archive.PLENTY["words"],
    "raw": "00ff27225c616263",
    "day": "2026-02-28",
    "at": "2026-01-02 03:04:05.678901",
    "zoned": "2026-01-02 03:04:05.678901",
    "hour": "23:59:58.123456",
    "span": "1970-01-04 04:00:00",
    "key": "12345678-1234-5678-9234-567812345678",
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
    "span": "1970-01-01 00:00:00",
    "data": [],
    "shout": "",
}
NOTHING = {**dict.fromkeys(PLENTY), "id": 3}


@pytest.fixture
def archived(db: Any) -> Iterator[Any]:
    with audited(db.observer, archive.Base.metadata):
        yield db


@on("mariadb")
def test_a_session_s_values_have_the_form(archived: Any) -> None:
    audit = Audit(archive.Base.metadata, capture="trigger")
    with archived.session(audit=audit) as session:
        for number, values in enumerate([archive.PLENTY, archive.EDGES, archive.NOTHING], 1):
            session.add(archive.Sample(id=number, **sendable(archived, values)))
        session.commit()
    found = logged(archived.observer)
    assert [one.new for one in found] == [
        sendable(archived, PLENTY),
        sendable(archived, EDGES),
        NOTHING,
    ]
    assert len({one.transaction_id for one in found}) == 1


@on("mariadb")
def test_who_was_at_work_is_not_kept_for_a_raw_client(archived: Any) -> None:
    audit = Audit(archive.Base.metadata, capture="trigger")
    engine = archived.new_engine(pool_size=1, max_overflow=0)
    with actor("ann", reason="é🙂", tags=["🙂"]):
        with archived.session(engine, audit=audit) as session:
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
    with archived.session(engine) as plain:  # on the same connection
        plain.execute(text("INSERT INTO tags VALUES (5, 'e')"))
        plain.commit()
    archived.dispose(engine)
    with archived.observer.connect() as connection:
        records = log(connection)
        transactions = connection.execute(
            text("SELECT actor, reason, context FROM audit_transaction ORDER BY id")
        ).all()
    assert [one.object_id for one in records] == ["1", "3", "5"]
    assert records[0].transaction_id == records[1].transaction_id
    assert [tuple(one)[:2] for one in transactions] == [("ann", "é🙂"), (None, None)]
    assert json.loads(transactions[0].context) == {"tags": ["🙂"]}


@on("mariadb")
def test_a_statement_that_fails_in_a_session_leaves_no_trace(archived: Any) -> None:
    audit = Audit(archive.Base.metadata, capture="trigger")
    with archived.session(audit=audit) as session:
        with pytest.raises(IntegrityError):
            session.execute(text("INSERT INTO tags VALUES (1, 'a'), (1, 'b')"))
        session.execute(text("INSERT INTO tags VALUES (2, 'c')"))
        session.commit()
    with archived.observer.connect() as connection:
        counts = connection.execute(
            text(
                "SELECT COUNT(*), COUNT(t.id), (SELECT COUNT(*) FROM audit_transaction) "
                "FROM audit_log l LEFT JOIN audit_transaction t ON t.id = l.transaction_id"
            )
        ).one()
    assert tuple(counts) == (1, 1, 1)

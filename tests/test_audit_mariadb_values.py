"""MariaDB's triggers: values of the types that it alone has, in any zone and character set."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects import mysql as types

from sessionwise.audit import Audit
from tests.backends import Database, on
from tests.triggered import Client, audited, empty, logged

pytestmark = on("pymysql")

kinds = MetaData()
kind = Table(
    "kind",
    kinds,
    Column("id", Integer, primary_key=True),
    Column("tiny", types.TINYINT(1)),
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
    ("filled", "42", 42),
    ("huge", "18446744073709551615", 2**64 - 1),
    ("single", "0.5", 0.5),
    ("single", "0.1", struct.unpack("f", struct.pack("f", 0.1))[0]),
    ("single", "16777217", 16777216.0),
    ("real", "0.1e0 + 0.2e0", 0.1 + 0.2),
    ("price", "19.90", "19.900000"),
    ("price", "123456789012345678901234.567891", "123456789012345678901234.567891"),
    ("bits", "b'1000000011'", 515),
    ("year", "2026", 2026),
    ("at", "'2026-01-02 03:04:05.678901'", "2026-01-02 03:04:05.678901"),
    ("at", "'0001-01-01'", "0001-01-01 00:00:00.000000"),
    ("hour", "'-838:59:59'", "-838:59:59.000000"),
    ("some", "'a,é'", "a,é"),
    ("some", "''", ""),
    ("one", "'É'", "é"),
    (
        "words",
        r"""'a\0b\n\t\\"quoted" ''single'' é 🙂 /\Z%'""",
        "a\0b\n\t\\\"quoted\" 'single' é 🙂 /\x1a%",
    ),
    ("latin", "'é€ÿ'", "é€ÿ"),
    ("data", '\'{"a": [1, 2.50, null, "é"]}\'', {"a": [1, 2.5, None, "é"]}),
    ("raw", "x'00FF5C27'", "00ff5c27"),
    ("fixed", "x'01'", "01000000"),
    ("key", "'12345678-1234-5678-9234-567812345678'", "12345678-1234-5678-9234-567812345678"),
]


@pytest.fixture(scope="module")
def audit(database: Database) -> Iterator[Audit]:
    with audited(database.observer, kinds) as audit:
        with database.observer.begin() as connection:
            connection.execute(
                text("ALTER TABLE kind MODIFY latin VARCHAR(50) CHARACTER SET latin1")
            )
        yield audit


@pytest.fixture
def engine(database: Database, audit: Audit) -> Engine:
    empty(database.observer, kinds)
    return database.observer


@pytest.mark.parametrize(
    ("column", "value", "form"), VALUES, ids=[f"{name}-{value}" for name, value, _ in VALUES]
)
def test_values_have_the_form(
    engine: Engine, raw: Client, column: str, value: str, form: Any
) -> None:
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


def test_a_timestamp_is_utc_in_any_zone(engine: Engine, raw: Client) -> None:
    for number, zone in enumerate(("+00:00", "+05:30", "-11:00"), 1):
        raw.execute(
            f"SET time_zone = '{zone}'",
            f"INSERT INTO kind (id, moment) VALUES ({number}, FROM_UNIXTIME(1700000000.123456))",
            "UPDATE kind SET moment = FROM_UNIXTIME(1700000000.123456)",
        )
    assert [one.new["moment"] for one in logged(engine)] == [
        "2023-11-14 22:13:20.123456+00:00"
    ] * 3


@pytest.mark.parametrize("charset", ["utf8mb4", "latin1", "cp1251"])
def test_text_is_the_same_in_any_character_set(engine: Engine, raw: Client, charset: str) -> None:
    raw.execute("INSERT INTO kind (id, words, latin, one) VALUES (1, 'é🙂', 'é', 'é')")
    with Client(engine, charset=charset) as other:
        other.execute("UPDATE kind SET id = 2")
    changed = logged(engine)[-1]
    assert (changed.old["words"], changed.old["latin"], changed.old["one"]) == ("é🙂", "é", "é")
    assert changed.new == {"id": 2}


def test_a_change_of_the_smallest_is_recorded(engine: Engine, raw: Client) -> None:
    changes = [("data", "'[1]'", "'[1 ]'"), ("raw", "'a'", "'a '"), ("one", "''", "NULL")]
    changes += [("some", "'a'", "'a,é'"), ("hour", "'0:0:0'", "'0:0:0.000001'")]
    changes += [("real", "1", "1 + 2.220446049250313e-16"), ("words", "'e'", "'é'")]
    raw.execute("INSERT INTO kind (id) VALUES (1)")
    for column, before, after in changes:
        raw.execute(f"UPDATE kind SET `{column}` = {before}")
        raw.execute(f"UPDATE kind SET `{column}` = {before}")
        raw.execute(f"UPDATE kind SET `{column}` = {after}")
    assert [list(one.new) for one in logged(engine)[1:]] == [
        [column] for column, _, _ in changes for _ in range(2)
    ]

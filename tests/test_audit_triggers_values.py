"""Triggers: values of the types that all databases have, in the form that is recorded of them."""

from __future__ import annotations

import math
import random
import re
import struct
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from sessionwise.audit import Audit
from tests.backends import Database
from tests.triggered import (
    NUMERICS,
    Client,
    audited,
    decoded,
    empty,
    kind,
    kinds,
    logged,
    on_each,
    stored,
)

pytestmark = on_each


@pytest.fixture(scope="module")
def audit(database: Database) -> Iterator[Audit]:
    with audited(database.observer, kinds) as audit:
        yield audit


@pytest.fixture
def engine(database: Database, audit: Audit) -> Engine:
    empty(database.observer, kinds)
    return database.observer


VALUES: list[tuple[str, str, Any]] = [
    ("big", "4611686018427387905", 2**62 + 1),
    ("big", "-9223372036854775807 - 1", -(2**63)),
    ("flag", "TRUE", True),
    ("flag", "FALSE", False),
    ("ratio", "0.30000000000000004", 0.1 + 0.2),
    ("ratio", "1e22", 1e22),
    ("ratio", "-1.7976931348623157e308", -1.7976931348623157e308),
    ("ratio", "5e-324", 5e-324),
    ("ratio", "1e-7", 1e-7),
    ("n6", "19.90", "19.900000"),
    ("n6", "-0.000001", "-0.000001"),
    ("n2", "19.9", "19.90"),
    ("n0", "20", "20"),
    ("words", "''", ""),
    ("words", "'''single'' \"quoted\" é 🙂 /%:x'", "'single' \"quoted\" é 🙂 /%:x"),
    ("data", '\'{"a": [1, 2.50, null, "é"]}\'', {"a": [1, 2.5, None, "é"]}),
    ("data", "'[]'", []),
    ("data", "'\"word\"'", "word"),
    ("data", "'null'", None),
    ("data", "'true'", True),
    ("raw", "x'00FF5C27'", "00ff5c27"),
    ("raw", "x''", ""),
    ("day", "'2026-02-28'", "2026-02-28"),
    ("hour", "'23:59:58.123456'", "23:59:58.123456"),
]


@pytest.mark.parametrize(
    ("column", "value", "form"), VALUES, ids=[f"{name}-{value}" for name, value, _ in VALUES]
)
def test_values_have_the_form(
    engine: Engine, raw: Client, column: str, value: str, form: Any
) -> None:
    if raw.server == "postgresql":
        value = re.sub(r"^x'(\w*)'$", r"'\\x\1'", value)  # what it takes for bytes
    raw.execute(f"INSERT INTO kind (id, {column}) VALUES (1, {value})")
    raw.execute(f"UPDATE kind SET {column} = NULL")
    raw.execute(f"UPDATE kind SET {column} = {value}")
    added, emptied, *changed = (one.new for one in logged(engine))
    if isinstance(form, float):  # of PostgreSQL's jsonb it may be an int
        added[column], changed[0][column] = float(added[column]), float(changed[0][column])
    assert added == {**dict.fromkeys(kind.columns.keys()), "id": 1, column: form}
    assert type(added[column]) is type(form)
    assert emptied == {column: None}
    assert changed == [{column: form}]


def test_a_double_keeps_all_of_its_digits(engine: Engine, raw: Client) -> None:
    chance = random.Random(1)
    values = [struct.unpack("d", chance.randbytes(8))[0] for _ in range(5000)]
    values += [chance.uniform(-1e6, 1e6) for _ in range(5000)]
    values += [1.7976931348623157e308, 5e-324, 2.2250738585072014e-308, 0.1 + 0.2, 1e22, -0.5]
    values = [one for one in values if math.isfinite(one)]
    assert [float(one) for one in stored(engine, raw, "ratio", values)] == values


@pytest.mark.parametrize("column", NUMERICS)
def test_a_decimal_is_the_digits_that_sqlalchemy_loads(
    engine: Engine, raw: Client, column: str
) -> None:
    chance = random.Random(2)
    values = [round(chance.uniform(-1e4, 1e4), chance.randrange(7)) for _ in range(3000)]
    values += [chance.randrange(-4000, 4000) / 32 for _ in range(3000)]  # half of them are ties
    values += [12345678901234.567890, 19.9, 0.5, 1.5, 0.999999999, -0.000001, 5.0, 2.0**60, 3.0]
    found = stored(engine, raw, column, values)
    with engine.connect() as connection:
        loaded = connection.scalars(select(kind.c[column]).order_by(kind.c.id)).all()
    assert [Decimal(one) for one in found] == loaded
    assert all(isinstance(one, str) for one in found)
    of_any_scale = "19.9000000000" if raw.server == "sqlite" else "20"
    assert found[values.index(19.9)] == {"n0": "20", "n2": "19.90", "n6": "19.900000"}.get(
        column, of_any_scale
    )


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text())
def test_any_text_is_recorded_as_it_is(raw: Client, word: str) -> None:
    if raw.server == "postgresql":
        word = word.replace("\0", "")  # which it refuses
    raw.execute("BEGIN")
    raw.insert("words", [word])
    ((new,),) = raw.ask("SELECT new FROM audit_log")
    raw.execute("ROLLBACK")
    assert decoded(new)["words"] == word


def test_a_change_of_the_smallest_is_recorded(engine: Engine, raw: Client) -> None:
    changes = [("words", "'e'", "'é'"), ("words", "'a'", "'a '"), ("hour", "'0:0:0'", "'0:0:0.1'")]
    changes += [("ratio", "1.0", "1.0000000000000002"), ("flag", "FALSE", "NULL")]
    changes += [("n6", "0", "0.000001"), ("words", "''", "NULL"), ("data", "'[1]'", "'[2]'")]
    raw.execute("INSERT INTO kind (id) VALUES (1)")
    for column, before, after in changes:
        raw.execute(f"UPDATE kind SET {column} = {before}")
        raw.execute(f"UPDATE kind SET {column} = {before}")
        raw.execute(f"UPDATE kind SET {column} = {after}")
    assert [list(one.new) for one in logged(engine)[1:]] == [
        [column] for column, _, _ in changes for _ in range(2)
    ]

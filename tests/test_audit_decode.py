"""What is recorded of a value becomes the value that the ORM loads, whoever has recorded it."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    DateTime,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    PickleType,
    String,
    Uuid,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from sessionwise.audit import Audit, Redacted
from sessionwise.audit.asking.decode import decode_key, decoder, loads
from sessionwise.audit.encode import encode, encode_key
from tests.archive import EDGES, NOTHING, PLENTY, Colour, Country, Page, Sample
from tests.audited import history, installed, sendable

VALUES = {"plenty": PLENTY, "edges": EDGES, "nothing": NOTHING}


@pytest.fixture(scope="module", params=["trigger", "session"])
def audit(database: Any, request: pytest.FixtureRequest) -> Iterator[Audit]:
    with installed(database, request.param) as audit:
        yield audit


def loaded(db: Any, ident: int) -> dict[str, Any]:
    """Return what the ORM loads, in a session that has not seen it."""
    with db.session() as session:
        sample = session.get(Sample, ident)
        return {name: getattr(sample, name) for name in ["id", *PLENTY]}


@pytest.mark.parametrize("name", VALUES)
def test_is_what_the_orm_loads(db: Any, audit: Audit, name: str) -> None:
    with db.session(audit=audit, expire_on_commit=False) as session:
        sample = Sample(**sendable(db, VALUES[name]))
        session.add(sample)
        session.commit()
    inserted = loaded(db, sample.id)
    with db.session(audit=audit) as session:
        session.delete(session.get(Sample, sample.id))
        session.commit()
        told = history(db, audit, session, Sample, sample.id)
    insert, delete = told[-2:]  # SQLite gives ids again
    assert (insert.action, delete.action) == ("INSERT", "DELETE")
    assert insert.new == delete.old == inserted
    for attribute, value in inserted.items():
        assert isinstance(value, type(insert.new[attribute]))


def test_what_an_update_has_changed(db: Any, audit: Audit) -> None:
    with db.session(audit=audit, expire_on_commit=False) as session:
        sample = Sample(**sendable(db, PLENTY))
        session.add(sample)
        session.commit()
    before = loaded(db, sample.id)
    with db.session(audit=audit) as session:
        found = session.get(Sample, sample.id)
        for attribute, value in sendable(db, EDGES).items():
            setattr(found, attribute, value)
        session.commit()
        change = history(db, audit, session, Sample, sample.id)[-1]
    after = loaded(db, sample.id)
    assert change.old == before
    assert change.row == after
    assert change.changed == {
        name: (before[name], after[name]) for name in PLENTY if before[name] != after[name]
    }


# Without a database


POSTGRESQL, MYSQL, SQLITE = postgresql.dialect(), mysql.dialect(), sqlite.dialect()


@pytest.mark.parametrize(
    ("type_", "dialect", "recorded", "value"),
    [
        (ARRAY(Integer, dimensions=2), POSTGRESQL, [[1, None], [2, 3]], [[1, None], [2, 3]]),
        (ARRAY(Numeric(5, 2), as_tuple=True), POSTGRESQL, ["1.50"], (Decimal("1.50"),)),
        (ARRAY(DateTime), POSTGRESQL, ["2026-01-02T03:04:05"], [datetime(2026, 1, 2, 3, 4, 5)]),
        (ARRAY(Enum(Colour)), POSTGRESQL, ["red"], [Colour.red]),
        (PickleType(), SQLITE, pickle.dumps([1]).hex(), [1]),
        (LargeBinary(), MYSQL, "00ff", b"\x00\xff"),
        (mysql.LONGBLOB(), MYSQL, "00ff", b"\x00\xff"),
        (mysql.SET("a", "b"), MYSQL, "a,b", {"a", "b"}),
        (Uuid(as_uuid=False), SQLITE, "0" * 31 + "1", str(uuid.UUID(int=1))),
        (Float(), POSTGRESQL, "-Infinity", float("-inf")),
        (Float(asdecimal=True, decimal_return_scale=3), POSTGRESQL, 0.1, Decimal("0.100")),
        (Numeric(asdecimal=False), POSTGRESQL, "0.25", 0.25),
        (Numeric(5, 2), SQLITE, "1.5", Decimal("1.50")),
        (Interval(), POSTGRESQL, "-0.000001", timedelta(microseconds=-1)),
        (Interval(), MYSQL, "1970-01-02 00:00:01", timedelta(days=1, seconds=1)),
        (postgresql.INTERVAL(), POSTGRESQL, "90", timedelta(seconds=90)),
        (
            DateTime(timezone=True),
            POSTGRESQL,
            "2026-01-02T03:04:05+02:00",
            datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC),
        ),
        (postgresql.INET(), POSTGRESQL, "10.0.0.1", "10.0.0.1"),
    ],
)
def test_each_type(type_: Any, dialect: Any, recorded: Any, value: Any) -> None:
    found = decoder(type_, dialect)(recorded)
    assert (found, type(found)) == (value, type(value))


def test_what_does_not_fit_the_type_is_as_recorded() -> None:
    """The column had another type when it was recorded."""
    for type_, recorded in [
        (Integer(), "many"),
        (DateTime(), "yesterday"),
        (Enum(Colour), "blue"),
        (LargeBinary(), "xyz"),
        (ARRAY(Integer), {"a": 1}),
        (Integer(), [1]),
    ]:
        assert decoder(type_, POSTGRESQL)(recorded) == recorded


def test_what_is_redacted_is_told_from_values() -> None:
    told = decoder(String(), POSTGRESQL)({"sha256": "ab" * 32})
    assert told == Redacted("ab" * 32)
    assert repr(told) == "<redacted abababab>"


@pytest.mark.parametrize("dialect", [POSTGRESQL, MYSQL, SQLITE], ids=lambda one: one.name)
def test_keys_there_and_back(dialect: Any) -> None:
    for class_, ident, text in [
        (Page, (1, "a"), '[1, "a"]'),
        (Country, ("Å",), "Å"),
        (Sample, (7,), "7"),
    ]:
        columns = tuple(class_.__table__.primary_key)
        assert encode_key(ident, columns, dialect) == text
        assert decode_key(text, columns, dialect) == (ident if len(ident) > 1 else ident[0])


def test_dicts_may_be_texts() -> None:
    assert loads('{"a": 4611686018427387905}') == {"a": 2**62 + 1}
    assert loads({"a": 1}) == {"a": 1}
    assert loads(None) is None


@pytest.mark.parametrize("dialect", [POSTGRESQL, MYSQL], ids=lambda one: one.name)
@pytest.mark.parametrize("name", ["plenty", "edges"])
def test_values_there_and_back(dialect: Any, name: str) -> None:
    for attribute, value in VALUES[name].items():
        if attribute == "zoned" and dialect is MYSQL:
            continue  # it has no zones
        column = Sample.__table__.columns[attribute]
        assert decoder(column.type, dialect)(encode(value, column, dialect)) == value

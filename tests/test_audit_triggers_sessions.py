"""Triggers: what a session of ours changes has the form, and who was at work is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from sessionwise.audit import Audit, actor
from sessionwise.audit.tables import TRANSACTION
from tests import archive
from tests.audited import empty, installed, sendable, told
from tests.backends import Database
from tests.triggered import Client, assert_transactions, decoded, logged


@pytest.fixture(scope="module")
def audit(database: Database) -> Iterator[Audit]:
    with installed(database) as audit:
        yield audit


@pytest.fixture
def audited(db: Database, audit: Audit) -> Database:
    """Give a database whose archive is audited, and empty."""
    empty(db)
    return db


PLENTY: dict[str, Any] = {
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
EDGES: dict[str, Any] = {
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

OTHERWISE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sqlite": (
        {
            "price": "12345678901234.568359",  # a double, which is what SQLAlchemy stores
            "span": "1970-01-04 04:00:00.000005",
            "key": "12345678123456789234567812345678",
        },
        {"span": "1970-01-01 00:00:00.000000"},
    ),
    "postgresql": (
        {
            "at": "2026-01-02T03:04:05.678901",
            "zoned": "2026-01-02T03:04:05.678901+00:00",
            "span": "273600.000005",
        },
        {
            "at": "1970-01-01T00:00:00",
            "zoned": "1999-12-31T23:59:59+00:00",
            "hour": "00:00:00",
            "span": "0.000000",
        },
    ),
    "mariadb": ({}, {}),
}
"""What of ``PLENTY`` and ``EDGES`` each database has in its own form."""


def test_a_session_s_values_have_the_form(audited: Database, audit: Audit) -> None:
    with audited.session(audit=audit) as session:
        for number, values in enumerate([archive.PLENTY, archive.EDGES, archive.NOTHING], 1):
            session.add(archive.Sample(id=number, **sendable(audited, values)))
        session.commit()
    found = [one.new for one in logged(audited.observer)]
    found[1]["real"] = float(found[1]["real"])  # of PostgreSQL's jsonb it is an int
    plenty, edges = OTHERWISE[audited.driver.server]
    assert found == [
        sendable(audited, PLENTY | plenty),
        sendable(audited, EDGES | edges),
        NOTHING,
    ]
    assert_transactions(audited.observer, 1)
    with audited.observer.connect() as connection:
        prices = connection.scalars(select(archive.Sample.price).order_by(archive.Sample.id))
        assert prices.first() == Decimal(found[0]["price"])


def test_who_was_at_work_is_not_kept_for_another_client(audited: Database, audit: Audit) -> None:
    engine = audited.new_engine(pool_size=1, max_overflow=0)
    with actor("ann", reason="é🙂", tags=["🙂"]):
        with audited.session(engine, audit=audit) as session:
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
    with audited.session(engine) as plain:  # on the same connection
        plain.execute(text("INSERT INTO tags VALUES (5, 'e')"))
        plain.commit()
    audited.dispose(engine)
    with Client(audited.observer) as raw:
        raw.execute("INSERT INTO tags VALUES (6, 'f')")
    by_ann, by_nobody = ("ann", "é🙂"), (None, None)
    assert told(audited) == [("1", *by_ann), ("3", *by_ann), ("5", *by_nobody), ("6", *by_nobody)]
    first, third, *_ = logged(audited.observer)
    assert first.transaction_id == third.transaction_id
    assert_transactions(audited.observer)
    with audited.observer.connect() as connection:
        said = connection.scalars(select(TRANSACTION.c.context).order_by(TRANSACTION.c.id))
        assert decoded(said.first()) == {"tags": ["🙂"]}


def test_a_statement_that_fails_in_a_session_leaves_no_trace(
    audited: Database, audit: Audit
) -> None:
    with audited.session(audit=audit) as session:
        with pytest.raises(IntegrityError):
            session.execute(text("INSERT INTO tags VALUES (1, 'a'), (1, 'b')"))
        if audited.driver.server == "postgresql":
            session.rollback()  # there it has undone all of the transaction
        session.execute(text("INSERT INTO tags VALUES (2, 'c')"))
        session.commit()
    assert [one.object_id for one in logged(audited.observer)] == ["2"]
    assert_transactions(audited.observer, 1)

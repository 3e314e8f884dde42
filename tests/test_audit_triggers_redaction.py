"""Triggers: of a redacted column there is a salted hash, and the value is nowhere.

SQLite has no function to hash with: its triggers are refused, and the session captures instead.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from hashlib import sha256

import pytest
from sqlalchemy import (
    Column,
    Engine,
    ForeignKey,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    select,
    text,
)

from sessionwise.audit import Audit
from sessionwise.audit.tables import METADATA, SALT
from sessionwise.audit.triggers.install import bodies_for, send
from tests.backends import Database, on
from tests.triggered import Client, audited, empty, forget, logged

pytestmark = on("psycopg", "pymysql")

safes = MetaData()
Table(
    "safe",
    safes,
    Column("id", String(20), primary_key=True),
    Column("owner", String(20)),
    Column("code", String(20)),
    Column("pin", String(50)),
    Column("number", Numeric(10, 2)),
    Column("key", LargeBinary),
    Column("of", ForeignKey("safe.id", ondelete="CASCADE")),
)


@pytest.fixture(scope="module")
def audit(database: Database) -> Iterator[Audit]:
    redact = ["safe.pin", "safe.number", "safe.key"]
    with audited(database.observer, safes, redact=redact, exclude=["safe.code"]) as audit:
        yield audit


@pytest.fixture
def engine(database: Database, audit: Audit) -> Engine:
    empty(database.observer, safes)
    return database.observer


def salts(engine: Engine) -> dict[str, bytes]:
    with engine.connect() as connection:
        return {key: bytes(salt) for key, salt in connection.execute(select(SALT.c[1], SALT.c[2]))}


def test_of_a_redacted_column_there_is_a_hash(engine: Engine, raw: Client, audit: Audit) -> None:
    some = "x'00ff'" if raw.server == "mariadb" else r"'\x00ff'"
    raw.execute(
        f"INSERT INTO safe VALUES ('a', 'o', NULL, 'é1', 5, {some}, NULL), "
        "('b', 'o', NULL, NULL, 5, '', 'a')",
        "UPDATE safe SET pin = 'secret' WHERE id = 'b'",
        "UPDATE safe SET owner = 'p' WHERE id = 'b'",
        "UPDATE safe SET id = 'c' WHERE id = 'b'",
        "DELETE FROM safe WHERE id = 'a'",
    )
    salt = salts(engine)
    first, second, third, other, fourth, *gone = logged(engine)

    def hashed(key: str, value: bytes) -> dict[str, str]:
        return {"sha256": sha256(salt[key] + value).hexdigest()}

    assert set(salt) == {"a", "b", "c"}
    assert {len(one) for one in salt.values()} == {32}
    assert first.new == {
        "id": "a",
        "owner": "o",
        "pin": hashed("a", "é1".encode()),
        "number": hashed("a", b"5.00"),
        "key": hashed("a", b"00ff"),
        "of": None,
    }
    assert second.new["pin"] is None
    assert second.new["number"] == hashed("b", b"5.00") != first.new["number"]
    assert third.new == {"pin": hashed("b", b"secret")}
    assert other.new == {"owner": "p"}
    assert fourth.old["pin"] == hashed("b", b"secret")
    assert fourth.new == {"id": "c"}
    assert sorted(str(one.object_id) for one in gone) == ["a", "c"]
    (last,) = (one for one in gone if one.object_id == "c")
    assert last.old["pin"] == hashed("c", b"secret")


def test_a_base_line_has_the_same_hashes(engine: Engine, raw: Client, audit: Audit) -> None:
    raw.execute("INSERT INTO safe (id, pin) VALUES ('a', 'é1')")
    (first,) = logged(engine)
    raw.execute("DELETE FROM audit_log")
    bodies = bodies_for(engine.dialect.name)
    (covered,) = audit.coverage
    with engine.begin() as connection:
        send(connection, bodies.before_backfill(covered))
        connection.execute(text(bodies.backfill(covered)), {"transaction_id": 7})
        send(connection, bodies.after_backfill(covered))
    (again,) = logged(engine)
    assert again.new == first.new
    assert first.new["pin"].keys() == {"sha256"}


def test_the_value_is_nowhere(engine: Engine, raw: Client) -> None:
    raw.execute("INSERT INTO safe (id, code, pin) VALUES ('a', 'hidden', 'secret')")
    raw.execute("UPDATE safe SET id = 'b'")
    raw.execute("DELETE FROM safe")
    assert logged(engine)[1].new == {"id": "b"}
    with engine.connect() as connection:
        for table in METADATA.sorted_tables:
            said = repr(connection.execute(select(table)).all())
            assert "secret" not in said
            assert "hidden" not in said


def test_two_at_once_have_one_salt(engine: Engine, raw: Client) -> None:
    raw.execute("INSERT INTO safe (id, owner) VALUES ('a', 'o')")
    done = []

    def write() -> None:
        with Client(engine) as client:
            client.execute("UPDATE safe SET pin = 'x'")
        done.append(True)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 4
    assert len(salts(engine)) == 1


def test_a_salt_is_kept_for_its_row(engine: Engine, raw: Client) -> None:
    raw.execute("INSERT INTO safe (id, pin) VALUES ('a', 'x')")
    before = salts(engine)
    raw.execute("UPDATE safe SET pin = 'y'", "UPDATE safe SET pin = 'x'")
    first, _, third = logged(engine)
    assert salts(engine) == before
    assert third.new["pin"] == first.new["pin"]
    forget(engine)
    raw.execute("UPDATE safe SET pin = NULL")
    assert salts(engine) != before

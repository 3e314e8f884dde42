"""PostgreSQL's triggers: whoever writes, by whatever statement, into whatever table."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import (
    select,
    text,
)
from sqlalchemy.exc import DBAPIError

from sessionwise.audit import Audit, AuditLog, AuditTransaction, actor
from sessionwise.audit.tables import METADATA, SALT
from tests.archive import EDGES, PLENTY, Account, Author, Base, Sample
from tests.audited import installed
from tests.backends import Database, on

pytestmark = on("psycopg")
LOG, SAID = AuditLog.__table__, AuditTransaction.__table__


@pytest.fixture(scope="module")
def audit(database: Database) -> Iterator[Audit]:
    with installed(database, exclude=[Account.password], redact=[Account.email]) as audit:
        yield audit


@pytest.fixture
def archive(db: Database, audit: Audit) -> Database:
    """Give a database whose archive and audit are empty."""
    tables = [table.name for table in (*Base.metadata.sorted_tables, *METADATA.sorted_tables)]
    with db.observer.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = origin"))
        connection.execute(text(f"TRUNCATE {', '.join(tables)}"))
        connection.execute(text(f"TRUNCATE {', '.join(METADATA.tables)}"))
    return db


def run(db: Database, *statements: str, **parameters: Any) -> None:
    """Run statements as any client might, in one transaction."""
    with db.observer.begin() as connection:
        for statement in statements:
            if parameters:
                connection.execute(text(statement), parameters)
            else:
                connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def log(db: Database, *names: str) -> list[Any]:
    """Return what is recorded, in its order."""
    columns = [LOG.c[name] for name in names or ("action", "table", "object_id")]
    with db.observer.connect() as connection:
        found = connection.execute(select(*columns).order_by(LOG.c.id))
        return [row[0] if len(columns) == 1 else tuple(row) for row in found]


def forget(db: Database) -> None:
    run(db, f"TRUNCATE {', '.join(METADATA.tables)}")


AUTHORS = (
    "INSERT INTO authors (id, name, balance) SELECT i, 'n' || i, i FROM generate_series(1, 3) i"
)

STATEMENTS = {
    "values and RETURNING": (
        "INSERT INTO authors (id, name, balance) VALUES (4, 'x', 0), (5, 'y', 0) RETURNING id",
        [("INSERT", "authors", "4"), ("INSERT", "authors", "5")],
    ),
    "ON CONFLICT DO UPDATE": (
        "INSERT INTO authors (id, name, balance) VALUES (1, 'x', 9), (4, 'y', 9) "
        "ON CONFLICT (id) DO UPDATE SET balance = excluded.balance",
        [("INSERT", "authors", "4"), ("UPDATE", "authors", "1")],
    ),
    "ON CONFLICT DO NOTHING": (
        "INSERT INTO authors (id, name, balance) VALUES (1, 'x', 9) ON CONFLICT DO NOTHING",
        [],
    ),
    "MERGE": (
        "MERGE INTO authors USING (VALUES (1, 'a'), (2, 'b'), (4, 'd')) AS s (id, name) "
        "ON authors.id = s.id WHEN MATCHED AND s.id = 2 THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET name = s.name "
        "WHEN NOT MATCHED THEN INSERT (id, name, balance) VALUES (s.id, s.name, 0)",
        [("INSERT", "authors", "4"), ("UPDATE", "authors", "1"), ("DELETE", "authors", "2")],
    ),
    "CTE": (
        "WITH gone AS (DELETE FROM authors WHERE id = 2 RETURNING *), "
        "come AS (INSERT INTO authors (id, name, balance) SELECT 7, name, 0 FROM gone "
        "         RETURNING id), "
        "other AS (INSERT INTO authors (id, name, balance) VALUES (8, 'other', 0)) "
        "UPDATE authors SET balance = 5 WHERE id = 3",
        [
            ("DELETE", "authors", "2"),
            ("INSERT", "authors", "7"),
            ("INSERT", "authors", "8"),
            ("UPDATE", "authors", "3"),
        ],
    ),
    "UPDATE that changes nothing": ("UPDATE authors SET balance = balance", []),
    "UPDATE of no row": ("UPDATE authors SET balance = 1 WHERE id = 99", []),
    "DELETE of no row": ("DELETE FROM authors WHERE id = 99", []),
    "a column that is not recorded": (
        "INSERT INTO accounts (id, login, password) VALUES (1, 'l', 'p'); "
        "UPDATE accounts SET password = 'q'",
        [("INSERT", "accounts", "1")],
    ),
    "a primary key": (
        "UPDATE authors SET id = id + 10 WHERE id = 2",
        [("UPDATE", "authors", "12")],
    ),
    "keys that change places": (
        "UPDATE pages SET side = CASE side WHEN 'a' THEN 'c' ELSE side END WHERE number = 1",
        [("UPDATE", "pages", '[1, "c"]')],
    ),
    "ON DELETE": (
        "DELETE FROM authors WHERE id = 1",
        [("DELETE", "authors", "1"), ("DELETE", "letters", "1"), ("UPDATE", "letters", "2")],
    ),
    "TRUNCATE": (
        "TRUNCATE authors CASCADE",
        [("TRUNCATE", "authors", f"{n}") for n in (1, 2, 3)]
        + [("TRUNCATE", "letters", "1"), ("TRUNCATE", "letters", "2")],
    ),
    "a link": (
        "INSERT INTO books (id, author_id, title) VALUES (1, 1, 't'); "
        "INSERT INTO tags (id, name) VALUES (1, 'x'), (2, 'y'); "
        "INSERT INTO book_tags (book_id, tag_id) VALUES (1, 1); "
        "UPDATE book_tags SET tag_id = 2; DELETE FROM book_tags",
        [
            ("INSERT", "books", "1"),
            ("INSERT", "tags", "1"),
            ("INSERT", "tags", "2"),
            ("LINK", "book_tags", "[1, 1]"),
            ("UPDATE", "book_tags", "[1, 2]"),
            ("UNLINK", "book_tags", "[1, 2]"),
        ],
    ),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_each_statement_is_recorded_once(archive: Database, name: str) -> None:
    statement, expected = STATEMENTS[name]
    run(
        archive,
        AUTHORS,
        "INSERT INTO pages (number, side, words) VALUES (1, 'a', ''), (1, 'b', '')",
        "INSERT INTO letters (id, author_id, reader_id, words) "
        "VALUES (1, 1, NULL, 'x'), (2, 3, 1, 'y')",
    )
    forget(archive)
    run(archive, *statement.split("; "))
    assert sorted(log(archive)) == sorted(expected)
    with archive.observer.connect() as connection:
        said = connection.execute(select(SAID.c.id, SAID.c.native_id)).all()
        assert len(said) == (1 if expected else 0)
        assert {one.native_id for one in said} <= {
            str(x) for x in connection.scalars(text("SELECT DISTINCT xmin FROM audit_log"))
        }


def test_old_and_new(archive: Database) -> None:
    run(archive, AUTHORS, "UPDATE authors SET id = id + 1, note = 'n' WHERE id = 3")
    old, new, previous = log(archive, "old", "new", "previous_id")[-1]
    assert old == {"id": 3, "name": "n3", "balance": 3, "note": None}
    assert new == {"id": 4, "note": "n"}
    assert previous == "3"
    assert log(archive, "old", "new", "previous_id")[0] == (
        None,
        {"id": 1, "name": "n1", "balance": 1, "note": None},
        None,
    )


def test_many_rows_are_paired_as_they_were(archive: Database) -> None:
    """A plan that was made for one row is used for thousands: each keeps its own before."""
    run(
        archive,
        "INSERT INTO authors (id, name, balance) SELECT i, i, i FROM generate_series(1, 5000) i",
        "UPDATE authors SET balance = 0 WHERE id = 1",
        *[f"UPDATE authors SET balance = balance + 1 WHERE id = {n}" for n in range(2, 9)],
    )
    forget(archive)
    run(archive, "UPDATE authors SET id = 10000 - id, balance = id + 100000, note = name")
    rows = log(archive, "object_id", "previous_id", "old", "new")
    assert len(rows) == 5000
    for object_id, previous_id, old, new in rows:
        before = old["id"]
        assert int(object_id) == 10000 - before
        assert previous_id == (None if before == 5000 else str(before))
        assert new.get("id", 5000) == 10000 - before
        assert (new["balance"], new["note"]) == (before + 100000, str(before))
        assert old == {"id": before, "name": str(before), "balance": old["balance"], "note": None}


def test_copy(archive: Database) -> None:
    with archive.observer.connect() as connection:
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy("COPY tags (id, name) FROM STDIN") as copy:
            for number in range(1000):
                copy.write_row((number, f"tag {number}"))
        driver.commit()
    assert log(archive) == [("INSERT", "tags", str(n)) for n in range(1000)]


def test_replication_does_not_pass_it_by(archive: Database) -> None:
    run(archive, "SET LOCAL session_replication_role = replica", AUTHORS)
    assert len(log(archive)) == 3


def test_settings_of_the_client_do_not_count(archive: Database) -> None:
    """Zone, digits, styles and the search path are those of whoever writes."""
    with archive.session() as session:
        session.add(Sample(id=1, **PLENTY))
        session.add(Sample(id=2, **EDGES))
        session.commit()
    plain = log(archive, "new")
    run(
        archive,
        "SET LOCAL TimeZone = 'Asia/Tokyo'",
        "SET LOCAL extra_float_digits = -10",
        "SET LOCAL bytea_output = 'escape'",
        "SET LOCAL DateStyle = 'SQL, DMY'",
        "SET LOCAL IntervalStyle = 'iso_8601'",
        "CREATE SCHEMA elsewhere",
        "CREATE TABLE elsewhere.audit_log (id int)",
        "CREATE FUNCTION elsewhere.clock_timestamp() RETURNS timestamptz LANGUAGE sql "
        "AS $$ SELECT '1970-01-01 00:00+00'::timestamptz $$",
        "SET LOCAL search_path = elsewhere, pg_catalog, public",
        "DELETE FROM samples",
        "DROP SCHEMA elsewhere CASCADE",
    )
    assert log(archive, "old")[2:] == plain
    assert min(log(archive, "at")).year > 1970
    assert plain[0]["zoned"] == "2026-01-02T03:04:05.678901+00:00"
    assert plain[0]["real"] == 0.1 + 0.2
    assert plain[0]["raw"] == PLENTY["raw"].hex()
    assert plain[0]["span"] == "273600.000005"
    assert plain[0]["price"] == "12345678901234.567890"
    assert plain[0]["colour"] == "green"
    assert plain[0]["shout"] == "QUIET"


class TestTransactions:
    def test_one_row_for_each(self, archive: Database) -> None:
        run(archive, AUTHORS, "UPDATE authors SET balance = 9")
        run(archive, "DELETE FROM authors")
        assert len(set(log(archive, "transaction_id"))) == 2
        with archive.observer.connect() as connection:
            natives = list(connection.scalars(select(SAID.c.native_id)))
        assert len(set(natives)) == 2

    def test_a_savepoint_that_is_undone(self, archive: Database) -> None:
        run(
            archive,
            "SAVEPOINT s",
            "INSERT INTO authors (id, name, balance) VALUES (1, 'a', 0)",
            "ROLLBACK TO SAVEPOINT s",
            "INSERT INTO authors (id, name, balance) VALUES (2, 'b', 0)",
        )
        assert log(archive) == [("INSERT", "authors", "2")]
        with archive.observer.connect() as connection:
            assert connection.scalars(select(SAID.c.id)).all() == log(archive, "transaction_id")

    def test_what_is_said_falsely_does_not_count(self, archive: Database) -> None:
        """The id of another transaction's row is taken for none."""
        run(archive, AUTHORS)
        (other,) = set(log(archive, "transaction_id"))
        run(
            archive,
            "SELECT set_config('sessionwise.audit_transaction', :other, false)",
            "DELETE FROM authors",
            "SELECT set_config('sessionwise.audit_transaction', '', false)",
            other=str(other),
        )
        assert len(set(log(archive, "transaction_id"))) == 2

    def test_the_time_is_that_of_the_change(self, archive: Database) -> None:
        run(archive, "SELECT pg_sleep(0.1)", AUTHORS)
        with archive.observer.connect() as connection:
            assert connection.scalar(
                select(SAID.c.at).where(SAID.c.at > text("now() - interval '1 hour'"))
            )
            late = text("SELECT count(*) FROM audit_log l JOIN audit_transaction t "
                        "ON t.id = l.transaction_id WHERE l.at < t.at")  # fmt: skip
            assert connection.scalar(late) == 0


class TestFailClosed:
    @pytest.mark.parametrize(
        "fault",
        [
            "ALTER TABLE audit_log ADD CONSTRAINT refuses CHECK (action = '') NOT VALID",
            "ALTER TABLE audit_transaction ADD CONSTRAINT refuses CHECK (id < 0) NOT VALID",
            "ALTER TABLE audit_log RENAME TO audit_log_gone",
            "ALTER TABLE audit_log OWNER TO CURRENT_USER; REVOKE INSERT ON audit_log FROM owner",
        ],
        ids=["log", "transaction", "no table", "no right"],
    )
    def test_what_cannot_be_recorded_is_not_changed(self, archive: Database, fault: str) -> None:
        run(archive, AUTHORS)
        forget(archive)
        with owned(archive), archive.observer.connect() as admin:
            for statement in fault.split("; "):
                admin.execute(text(statement))
            admin.commit()
            try:
                for statement in (
                    "INSERT INTO authors (id, name, balance) VALUES (9, 'x', 0)",
                    "UPDATE authors SET balance = 99",
                    "DELETE FROM authors",
                    "TRUNCATE authors CASCADE",
                ):
                    with pytest.raises(DBAPIError):
                        run(archive, statement)
                rows = admin.execute(text("SELECT id, balance FROM authors ORDER BY id")).all()
                assert [tuple(row) for row in rows] == [(1, 1), (2, 2), (3, 3)]
                admin.rollback()
            finally:
                for statement in (
                    "ALTER TABLE IF EXISTS audit_log_gone RENAME TO audit_log",
                    "ALTER TABLE audit_log DROP CONSTRAINT IF EXISTS refuses",
                    "ALTER TABLE audit_transaction DROP CONSTRAINT IF EXISTS refuses",
                ):
                    admin.execute(text(statement))
                admin.commit()
        assert log(archive) == []


@contextmanager
def owned(db: Database) -> Iterator[None]:
    """Let the functions belong to a role that may do no more than write to the audit."""
    functions = "SELECT oid::regprocedure::text FROM pg_proc WHERE proname ^@ 'sessionwise_audit_'"
    with db.observer.begin() as connection:
        connection.execute(text("CREATE ROLE owner"))
        for table in METADATA.tables:
            connection.execute(text(f"GRANT SELECT, INSERT, UPDATE ON {table} TO owner"))
        connection.execute(text("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO owner"))
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO owner"))
        for function in connection.scalars(text(functions)).all():
            connection.execute(text(f"ALTER FUNCTION {function} OWNER TO owner"))
    try:
        yield
    finally:
        with db.observer.begin() as connection:
            connection.execute(text("REASSIGN OWNED BY owner TO CURRENT_USER"))
            connection.execute(text("DROP OWNED BY owner"))
            connection.execute(text("DROP ROLE owner"))


class TestRedaction:
    def test_a_hash_that_the_salt_makes(self, archive: Database) -> None:
        run(
            archive,
            "INSERT INTO accounts (id, login, password, email) VALUES (1, 'l', 'p', 'é@x')",
            "INSERT INTO accounts (id, login, password, email) VALUES (2, 'm', 'p', 'é@x')",
            "INSERT INTO accounts (id, login, password, email) VALUES (3, 'n', 'p', NULL)",
            "UPDATE accounts SET email = 'new' WHERE id = 1",
            "UPDATE accounts SET login = 'other' WHERE id = 1",
        )
        first, second, third, changed, unchanged = log(archive, "old", "new")
        with archive.observer.connect() as connection:
            salts = {
                one.object_id: bytes(one.salt)
                for one in connection.execute(select(SALT).where(SALT.c.table == "accounts"))
            }
        assert all(len(salt) == 32 for salt in salts.values())

        def hashed(object_id: str, value: str) -> dict[str, str]:
            digest = hashlib.sha256(salts[object_id] + value.encode()).hexdigest()
            return {"sha256": digest}

        assert first[1] == {"id": 1, "login": "l", "email": hashed("1", "é@x")}
        assert second[1]["email"] == hashed("2", "é@x") != first[1]["email"]
        assert third[1]["email"] is None
        assert (changed[0]["email"], changed[1]) == (
            first[1]["email"],
            {"email": hashed("1", "new")},
        )
        assert unchanged[1] == {"login": "other"}

    def test_the_value_is_nowhere(self, archive: Database) -> None:
        run(
            archive,
            "INSERT INTO accounts (id, login, password, email) VALUES (1, 'l', 'pass', 'secret')",
            "UPDATE accounts SET id = 2",
            "DELETE FROM accounts",
        )
        assert [one for one in log(archive, "new") if one][1] == {"id": 2}
        with archive.observer.connect() as connection:
            for table in METADATA.tables:
                for row in connection.execute(text(f"SELECT t::text FROM {table} AS t")):
                    assert "secret" not in row[0]
                    assert "pass" not in row[0]

    def test_two_at_once_have_one_salt(self, archive: Database) -> None:
        run(archive, "INSERT INTO accounts (id, login, password) VALUES (1, 'l', 'p')")
        done = []

        def write() -> None:
            run(archive, "UPDATE accounts SET email = :new", new="x")
            done.append(True)

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(done) == 4
        with archive.observer.connect() as connection:
            assert len(connection.execute(select(SALT)).all()) == 1


def test_concurrent_writers_do_not_wait_for_each_other(archive: Database) -> None:
    run(archive, AUTHORS)
    with archive.observer.connect() as first, archive.observer.connect() as second:
        for connection, ident in ((first, 1), (second, 2)):
            connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            connection.execute(text(f"UPDATE authors SET balance = 0 WHERE id = {ident}"))
        second.commit()
        first.commit()
    assert len(set(log(archive, "transaction_id"))) == 3


def test_the_actor_of_a_session(archive: Database, audit: Audit) -> None:
    with archive.session(audit=audit) as session, actor("alice", reason="r", ticket=1):
        session.add(Author(id=1, name="Ann"))
        session.commit()
    with archive.observer.connect() as connection:
        said = connection.execute(select(SAID.c.actor, SAID.c.reason, SAID.c.context)).one()
    assert tuple(said) == ("alice", "r", {"ticket": 1})

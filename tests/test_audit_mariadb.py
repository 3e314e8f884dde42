"""MariaDB's triggers: statements that it alone has, its transactions, and what it is not to do."""

from __future__ import annotations

from collections.abc import Iterator

import pymysql
import pytest
from sqlalchemy import (
    Engine,
    create_engine,
    text,
)

from sessionwise.audit import Audit
from tests.backends import Database, on
from tests.triggered import (
    Client,
    assert_replays,
    assert_transactions,
    audited,
    empty,
    happened,
    in_order,
    logged,
    things,
)

pytestmark = on("pymysql")


@pytest.fixture(scope="module")
def audit(database: Database) -> Iterator[Audit]:
    with audited(database.observer, things) as audit:
        yield audit


@pytest.fixture
def engine(database: Database, audit: Audit) -> Engine:
    """Give a database whose things are audited, and gone."""
    empty(database.observer, things)
    return database.observer


# Statements


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
    "an UPDATE of several tables": (
        "UPDATE thing t JOIN tree r ON r.id = t.id SET t.box = 8, r.beside = 1 WHERE t.id = 2",
        [("UPDATE", "thing", "2"), ("UPDATE", "tree", "2")],
    ),
    "a DELETE from several tables": (
        "DELETE t, r FROM thing t JOIN tree r ON r.id = t.id WHERE t.id = 2",
        [("DELETE", "thing", "2"), ("DELETE", "tree", "2")],
    ),
    "UPDATE IGNORE": ("UPDATE IGNORE thing SET code = 'a' WHERE id = 2", []),
}


@pytest.mark.parametrize("case", STATEMENTS, ids=list(STATEMENTS))
def test_each_statement_is_recorded_once(engine: Engine, raw: Client, case: str) -> None:
    statement, expected = STATEMENTS[case]
    raw.execute("INSERT INTO thing (id, code) VALUES (1, 'a'), (2, 'b')")
    raw.execute("INSERT INTO tree (id) VALUES (1), (2)")
    before = len(logged(engine))
    raw.execute(statement)
    assert in_order(happened(engine)[before:]) == in_order(expected)
    assert_transactions(engine)
    assert_replays(engine)


# Transactions


def test_each_statement_of_a_raw_client_is_a_transaction(engine: Engine, raw: Client) -> None:
    raw.together(
        "INSERT INTO thing (id) VALUES (1), (2), (3)",
        "UPDATE thing SET shelf = id",
    )
    first, second, third, *changes = [one.transaction_id for one in logged(engine)]
    assert first == second == third
    assert len({first, *changes}) == 2
    said = raw.ask("SELECT actor, context, native_id FROM audit_transaction")
    assert said == [(None, None, None)] * 2


def test_moments_are_utc_whatever_the_zone(engine: Engine, raw: Client) -> None:
    for zone in ("+05:00", "-11:00", "SYSTEM"):
        raw.execute(f"SET time_zone = '{zone}'")
        raw.execute("REPLACE INTO thing (id) VALUES (1)")
        found = raw.ask(
            "SELECT ABS(TIMESTAMPDIFF(SECOND, l.at, UTC_TIMESTAMP())) < 60, l.at = t.at "
            "FROM audit_log l JOIN audit_transaction t ON t.id = l.transaction_id"
        )
        assert set(found) == {(1, 1)}


def test_the_variable_never_refers_to_a_row_that_is_gone(engine: Engine, raw: Client) -> None:
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
    assert_transactions(engine, 1)


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
    engine: Engine, raw: Client, statement: str, harm: str, mend: str
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
    assert raw.ask("SELECT id, shelf FROM thing") == [(10, None)]


def test_who_has_no_rights_on_the_audit_is_recorded(engine: Engine, raw: Client) -> None:
    database = engine.url.database
    raw.execute("CREATE OR REPLACE USER sessionwise_clerk@'%' IDENTIFIED BY 'secret'")
    for table in ("thing", "tree"):
        raw.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.{table} TO sessionwise_clerk@'%'"
        )
    try:
        other = create_engine(engine.url.set(username="sessionwise_clerk", password="secret"))
        with other.begin() as connection:
            connection.execute(text("INSERT INTO thing (id) VALUES (1)"))
        with other.connect() as connection, pytest.raises(Exception, match="denied"):
            connection.execute(text("DELETE FROM audit_log"))
        other.dispose()
    finally:
        raw.execute("DROP USER sessionwise_clerk@'%'")
    assert happened(engine) == [("INSERT", "thing", "1")]

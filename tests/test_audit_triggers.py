"""Triggers: whatever any client does to a row is recorded once, in its transaction."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select, update

from sessionwise.audit import Audit
from sessionwise.audit.tables import LOG, TRANSACTION
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
    on_each,
    things,
)


@pytest.fixture(scope="module")
def audit(database: Database) -> Iterator[Audit]:
    with audited(database.observer, things) as audit:
        yield audit


@pytest.fixture
def engine(database: Database, audit: Audit) -> Engine:
    """Give a database whose things are audited, and gone."""
    empty(database.observer, things)
    return database.observer


# Rows


@on_each
def test_insert_update_and_delete_are_recorded(engine: Engine, raw: Client) -> None:
    raw.execute("INSERT INTO thing (id, code, shelf) VALUES (1, 'a', 5), (2, 'b', 5)")
    raw.execute("UPDATE thing SET code = NULL, shelf = 5, box = 7 WHERE id = 1")
    raw.execute("DELETE FROM thing")
    one, two, changed, *gone = logged(engine)
    first = {"id": 1, "code": "a", "shelf": 5, "box": None, "word": None, "twice": 10}
    assert (one.action, one.object_id, one.old, one.new) == ("INSERT", "1", None, first)
    assert (two.action, two.object_id) == ("INSERT", "2")
    assert (changed.action, changed.old, changed.new) == (
        "UPDATE",
        first,
        {"code": None, "box": 7},
    )
    assert sorted((g.action, g.object_id, g.new) for g in gone) == [
        ("DELETE", "1", None),
        ("DELETE", "2", None),
    ]
    (old,) = (g.old for g in gone if g.object_id == "1")
    assert old == {**first, "code": None, "box": 7}


@on_each
def test_an_update_that_changes_nothing_is_not_recorded(engine: Engine, raw: Client) -> None:
    raw.execute("INSERT INTO thing (id, word) VALUES (1, 'word')")
    raw.execute("UPDATE thing SET word = 'word', code = NULL")
    assert len(logged(engine)) == 1


@on_each
def test_a_change_of_case_or_of_blanks_alone_is_recorded(engine: Engine, raw: Client) -> None:
    raw.execute("INSERT INTO thing (id, word) VALUES (1, 'word')")
    words = ["WORD", "WORD ", "WÖRD ", "WORD "]
    for word in words:
        raw.execute(f"UPDATE thing SET word = '{word}'")
    assert [one.new for one in logged(engine)][1:] == [{"word": word} for word in words]


@on_each
def test_a_new_key_is_recorded_with_the_one_before(engine: Engine, raw: Client) -> None:
    raw.execute("INSERT INTO label (code) VALUES ('a')")
    raw.execute("UPDATE label SET code = 'A'")
    raw.execute("UPDATE label SET code = 'b'")
    first, second = logged(engine)[1:]
    assert (first.previous_id, first.object_id, first.new) == ("a", "A", {"code": "A"})
    assert first.old == {"code": "a", "thing_id": None, "other_id": None}
    assert (second.previous_id, second.object_id, second.new) == ("A", "b", {"code": "b"})


@on_each
def test_a_new_number_or_part_of_a_key_is_recorded(engine: Engine, raw: Client) -> None:
    raw.execute("INSERT INTO thing (id, shelf) VALUES (1, 1), (2, 1)")
    raw.execute("UPDATE thing SET id = id + 10, shelf = 2 WHERE id = 2")
    raw.execute("INSERT INTO label (code) VALUES ('a')")
    raw.execute("INSERT INTO mark VALUES ('a', 'red'), ('a', 'blue')")
    raw.execute("UPDATE mark SET colour = CASE colour WHEN 'red' THEN 'green' ELSE colour END")
    thing, mark = (one for one in logged(engine) if one.action == "UPDATE")
    assert (thing.previous_id, thing.object_id) == ("2", "12")
    assert thing.new == {"id": 12, "shelf": 2, "twice": 4}
    assert (mark.previous_id, mark.object_id) == ('["a", "red"]', '["a", "green"]')
    assert mark.new == {"colour": "green"}


@on_each
def test_many_rows_are_paired_as_they_were(engine: Engine, raw: Client) -> None:
    """PostgreSQL uses a plan that was made for one row for thousands: each keeps its before."""
    rows = ", ".join(f"({n}, '{n}', {n})" for n in range(1, 5001))
    raw.together(
        f"INSERT INTO thing (id, code, box) VALUES {rows}",
        "UPDATE thing SET box = 0 WHERE id = 1",
        *[f"UPDATE thing SET box = box + 1 WHERE id = {n}" for n in range(2, 9)],
        "DELETE FROM audit_log",
        "UPDATE thing SET word = code, box = id + 100000, id = 10000 - id",
    )
    found = logged(engine)
    assert len(found) == 5000
    for one in found:
        before = one.old["id"]
        assert one.object_id == str(10000 - before)
        assert one.previous_id == (None if before == 5000 else str(before))
        assert one.new.get("id", 5000) == 10000 - before
        assert (one.new["box"], one.new["word"]) == (before + 100000, str(before))
        assert (one.old["code"], one.old["word"]) == (str(before), None)


# Statements


STATEMENTS: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "several rows": (
        "INSERT INTO thing (id) VALUES (7), (8)",
        [("INSERT", "thing", "7"), ("INSERT", "thing", "8")],
    ),
    "INSERT … SELECT": (
        "INSERT INTO thing (id) SELECT id + 10 FROM thing",
        [("INSERT", "thing", "11"), ("INSERT", "thing", "12")],
    ),
    "INSERT … RETURNING": (
        "INSERT INTO thing (id) VALUES (7), (8) RETURNING id",
        [("INSERT", "thing", "7"), ("INSERT", "thing", "8")],
    ),
    "an UPDATE that changes nothing": ("UPDATE thing SET code = code", []),
    "an UPDATE that changes some": (
        "UPDATE thing SET shelf = CASE id WHEN 1 THEN 4 ELSE shelf END",
        [("UPDATE", "thing", "1")],
    ),
    "an UPDATE of no row": ("UPDATE thing SET shelf = 1 WHERE id = 99", []),
    "a DELETE of no row": ("DELETE FROM thing WHERE id = 99", []),
    "a link": (
        "INSERT INTO tie VALUES (1, 1); UPDATE tie SET tree_id = 2; DELETE FROM tie",
        [("LINK", "tie", "[1, 1]"), ("UPDATE", "tie", "[1, 2]"), ("UNLINK", "tie", "[1, 2]")],
    ),
}
ON_CONFLICT: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "DO UPDATE": (
        "INSERT INTO thing (id, code) VALUES (1, 'x'), (4, 'y') "
        "ON CONFLICT (id) DO UPDATE SET code = excluded.code",
        [("INSERT", "thing", "4"), ("UPDATE", "thing", "1")],
    ),
    "DO UPDATE, the key": (
        "INSERT INTO thing (id, code) VALUES (4, 'a') ON CONFLICT (code) DO UPDATE SET id = 9",
        [("UPDATE", "thing", "9")],
    ),
    "DO UPDATE, nothing": (
        "INSERT INTO thing (id, code) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET box = NULL",
        [],
    ),
    "DO NOTHING": (
        "INSERT INTO thing (id, code) VALUES (1, 'x'), (4, 'b'), (5, 'y') ON CONFLICT DO NOTHING",
        [("INSERT", "thing", "5")],
    ),
}


def fill(engine: Engine, raw: Client) -> int:
    """Put rows in, and count what is recorded of them."""
    raw.execute("INSERT INTO thing (id, code) VALUES (1, 'a'), (2, 'b')")
    raw.execute("INSERT INTO tree (id) VALUES (1), (2)")
    return len(logged(engine))


@on_each
@pytest.mark.parametrize("case", STATEMENTS, ids=list(STATEMENTS))
def test_each_statement_is_recorded_once(engine: Engine, raw: Client, case: str) -> None:
    statement, expected = STATEMENTS[case]
    before = fill(engine, raw)
    raw.execute(*statement.split("; "))
    assert in_order(happened(engine)[before:]) == in_order(expected)
    assert_transactions(engine)
    assert_replays(engine)


@on("sqlite3", "psycopg")  # MariaDB's ON DUPLICATE KEY UPDATE is in its own tests
@pytest.mark.parametrize("case", ON_CONFLICT, ids=list(ON_CONFLICT))
def test_on_conflict_is_recorded_once(engine: Engine, raw: Client, case: str) -> None:
    statement, expected = ON_CONFLICT[case]
    before = fill(engine, raw)
    raw.execute(statement)
    assert in_order(happened(engine)[before:]) == in_order(expected)
    assert_transactions(engine)
    assert_replays(engine)


@on("psycopg", "pymysql")  # SQLite's views cannot be written to
def test_what_is_changed_by_a_view_is_recorded_once(engine: Engine, raw: Client) -> None:
    before = fill(engine, raw)
    raw.execute("CREATE OR REPLACE VIEW things_seen AS SELECT id, box FROM thing")
    raw.execute("UPDATE things_seen SET box = 3 WHERE id = 1")
    raw.execute("DROP VIEW things_seen")
    assert happened(engine)[before:] == [("UPDATE", "thing", "1")]
    assert_replays(engine)


PROCEDURES = {
    "mariadb": "CREATE PROCEDURE sessionwise_fill() BEGIN "
    "DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END; "
    "INSERT INTO thing (id) VALUES (1), (1); INSERT INTO thing (id) VALUES (2); END",
    "postgresql": "CREATE PROCEDURE sessionwise_fill() LANGUAGE plpgsql AS $$ BEGIN "
    "BEGIN INSERT INTO thing (id) VALUES (1), (1); EXCEPTION WHEN unique_violation THEN END; "
    "INSERT INTO thing (id) VALUES (2); END $$",
}


@on("psycopg", "pymysql")  # SQLite has no procedures
def test_a_procedure_s_statements_are_recorded(engine: Engine, raw: Client) -> None:
    raw.execute(PROCEDURES[raw.server])
    try:
        raw.execute("CALL sessionwise_fill()")
    finally:
        raw.execute("DROP PROCEDURE sessionwise_fill")
    assert happened(engine) == [("INSERT", "thing", "2")]
    assert_transactions(engine, 1)


@on("sqlite3", "pymysql")  # PostgreSQL says which ids it has made by RETURNING
def test_ids_that_are_made_are_the_application_s(engine: Engine, raw: Client) -> None:
    last = {"sqlite": "last_insert_rowid()", "mariadb": "LAST_INSERT_ID()"}[raw.server]
    raw.execute("INSERT INTO thing (id) VALUES (20041)")
    raw.execute("INSERT INTO thing (code) VALUES ('a')")
    assert raw.lastrowid == 20042
    assert raw.ask(f"SELECT {last}") == [(20042,)]
    raw.execute("INSERT INTO thing (code) VALUES ('b'), ('c')")
    assert raw.lastrowid == (20043 if raw.server == "mariadb" else 20044)  # the first, the last


# Transactions


@on_each
def test_the_changes_of_a_statement_are_in_one_transaction(engine: Engine, raw: Client) -> None:
    raw.execute("INSERT INTO thing (id) VALUES (1), (2), (3)")
    with engine.begin() as connection:
        # in SQLite the time is all that tells a raw client's statements apart
        connection.execute(update(TRANSACTION).values(at=datetime(2026, 1, 1, tzinfo=UTC)))
    raw.execute("UPDATE thing SET shelf = id")
    first, *_ = numbers = [one.transaction_id for one in logged(engine)]
    assert numbers == [first] * 3 + [numbers[-1]] * 3
    assert_transactions(engine, 2)
    assert raw.ask("SELECT actor, context FROM audit_transaction") == [(None, None)] * 2
    with engine.connect() as connection:
        times = select(LOG.c.at, TRANSACTION.c.at).join_from(
            LOG, TRANSACTION, TRANSACTION.c.id == LOG.c.transaction_id
        )
        changed, said = connection.execute(times.order_by(LOG.c.id.desc())).all()[0]
    if raw.server == "postgresql":
        assert timedelta(0) <= changed - said < timedelta(seconds=60)  # its clock goes on
    else:
        assert changed == said


@on_each
def test_what_is_rolled_back_is_not_recorded(engine: Engine, raw: Client) -> None:
    raw.execute("BEGIN")
    raw.execute("INSERT INTO thing (id) VALUES (1)")
    raw.execute("SAVEPOINT s")
    raw.execute("INSERT INTO thing (id) VALUES (2)")
    raw.execute("ROLLBACK TO SAVEPOINT s")
    raw.execute("INSERT INTO thing (id) VALUES (3)")
    raw.execute("COMMIT")
    raw.execute("BEGIN")
    raw.execute("INSERT INTO thing (id) VALUES (4)")
    raw.execute("ROLLBACK")
    assert happened(engine) == [("INSERT", "thing", "1"), ("INSERT", "thing", "3")]
    assert_transactions(engine)
    with pytest.raises(raw.driver.IntegrityError):
        raw.execute("INSERT INTO thing (id) VALUES (5), (5)")
    assert len(logged(engine)) == 2


@on_each
def test_a_transaction_that_begins_with_what_is_undone(engine: Engine, raw: Client) -> None:
    """The row of the transaction was undone, too: there is another for what follows."""
    raw.execute("BEGIN")
    raw.execute("SAVEPOINT s")
    raw.execute("INSERT INTO thing (id) VALUES (1)")
    raw.execute("ROLLBACK TO SAVEPOINT s")
    with pytest.raises(raw.driver.IntegrityError):
        raw.execute("INSERT INTO thing (id) VALUES (2), (2)")
    raw.execute("ROLLBACK TO SAVEPOINT s")
    raw.execute("INSERT INTO thing (id) VALUES (3)")
    raw.execute("COMMIT")
    assert happened(engine) == [("INSERT", "thing", "3")]
    assert_transactions(engine, 1)


@on("sqlite3", "pymysql")  # in PostgreSQL it undoes the whole transaction
def test_a_statement_that_fails_leaves_no_trace(engine: Engine, raw: Client) -> None:
    raw.execute("BEGIN")
    with pytest.raises(raw.driver.IntegrityError):
        raw.execute("INSERT INTO thing (id) VALUES (1), (1)")
    raw.execute("INSERT INTO thing (id) VALUES (1)")
    raw.execute("COMMIT")
    assert happened(engine) == [("INSERT", "thing", "1")]
    assert_transactions(engine, 1)


LOCK_WAIT = {
    "postgresql": "SET lock_timeout = '2s'",
    "mariadb": "SET innodb_lock_wait_timeout = 2",
}


@on("psycopg", "pymysql")  # SQLite has one writer at a time
def test_concurrent_writers_do_not_wait_for_each_other(engine: Engine, raw: Client) -> None:
    raw.execute("INSERT INTO thing (id) VALUES (1), (2), (3)")
    with Client(engine) as other:
        for client, ident in ((raw, 1), (other, 2)):
            client.execute(LOCK_WAIT[raw.server])
            client.execute("BEGIN")
            client.execute(f"UPDATE thing SET box = 0 WHERE id = {ident}")
        other.execute("COMMIT")
        raw.execute("COMMIT")
    assert_transactions(engine, 3)

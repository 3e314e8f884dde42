"""PostgreSQL's triggers: statements that it alone has, and its transactions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select

from sessionwise.audit import Audit
from sessionwise.audit.tables import LOG, TRANSACTION
from tests.backends import Database, on
from tests.triggered import (
    Client,
    assert_replays,
    assert_transactions,
    audited,
    empty,
    fill,
    forget,
    happened,
    in_order,
    logged,
    things,
)

pytestmark = on("psycopg")


@pytest.fixture(scope="module")
def audit(database: Database) -> Iterator[Audit]:
    with audited(database.observer, things) as audit:
        yield audit


@pytest.fixture
def engine(database: Database, audit: Audit) -> Engine:
    """Give a database whose things are audited, and gone."""
    empty(database.observer, things)
    return database.observer


def natives(engine: Engine) -> set[str]:
    """Return what the database calls the transactions that are recorded."""
    with engine.connect() as connection:
        return set(connection.scalars(select(TRANSACTION.c.native_id)))


STATEMENTS: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "MERGE": (
        "MERGE INTO thing USING (VALUES (1, 'x'), (2, 'y'), (4, 'z')) AS s (id, code) "
        "ON thing.id = s.id WHEN MATCHED AND s.id = 2 THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET code = s.code "
        "WHEN NOT MATCHED THEN INSERT (id, code) VALUES (s.id, s.code)",
        [
            *(("INSERT", "thing", "4"), ("UPDATE", "thing", "1"), ("DELETE", "thing", "2")),
            # by foreign keys
            *(("DELETE", "label", "b"), ("UPDATE", "label", "a"), ("DELETE", "dot", "3")),
        ],
    ),
    "CTE": (
        "WITH gone AS (DELETE FROM tree WHERE id = 2 RETURNING *), "
        "come AS (INSERT INTO tree (id) SELECT id + 5 FROM gone RETURNING id), "
        "other AS (INSERT INTO tree (id) VALUES (8)) "
        "UPDATE tree SET above = 1 WHERE id = 3",
        [
            *(("DELETE", "tree", "2"), ("INSERT", "tree", "7"), ("INSERT", "tree", "8")),
            ("UPDATE", "tree", "3"),
        ],
    ),
    "TRUNCATE": (
        "TRUNCATE thing CASCADE",
        [
            *(("TRUNCATE", "thing", f"{n}") for n in (1, 2, 3)),
            *(("TRUNCATE", "label", code) for code in "abc"),
            *(("TRUNCATE", "mark", f'["{code}", "red"]') for code in "ac"),
            *(("TRUNCATE", "dot", f"{n}") for n in (1, 2, 3)),
        ],
    ),
    "several": (
        "INSERT INTO thing (id) VALUES (7); UPDATE thing SET box = 1 WHERE id = 7",
        [("INSERT", "thing", "7"), ("UPDATE", "thing", "7")],
    ),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_each_statement_is_recorded_once(engine: Engine, raw: Client, name: str) -> None:
    statement, expected = STATEMENTS[name]
    fill(raw)
    raw.execute("INSERT INTO tree (id) VALUES (1), (2), (3)")
    forget(engine)
    raw.together(*statement.split("; "))
    assert in_order(happened(engine)) == in_order(expected)
    assert_transactions(engine, 1)
    assert natives(engine) == {x for (x,) in raw.ask("SELECT DISTINCT xmin::text FROM audit_log")}


def test_replication_does_not_pass_it_by(engine: Engine, raw: Client) -> None:
    raw.execute("SET session_replication_role = replica")
    raw.execute("INSERT INTO thing (id) VALUES (1), (2), (3)")
    assert len(logged(engine)) == 3


# Transactions


def test_there_is_one_row_for_each_transaction(engine: Engine, raw: Client) -> None:
    raw.together("INSERT INTO thing (id) VALUES (1), (2)", "UPDATE thing SET box = id")
    raw.execute("DELETE FROM thing")
    assert_transactions(engine, 2)
    assert len(natives(engine)) == 2
    assert_replays(engine)


def test_what_is_said_falsely_does_not_count(engine: Engine, raw: Client) -> None:
    """The id of another transaction's row is taken for none."""
    raw.execute("INSERT INTO thing (id) VALUES (1)")
    (other,) = (one.transaction_id for one in logged(engine))
    raw.together(
        f"SELECT set_config('sessionwise.audit_transaction', '{other}', false)",
        "DELETE FROM thing",
    )
    assert_transactions(engine, 2)


def test_the_time_is_that_of_the_change(engine: Engine, raw: Client) -> None:
    raw.execute("BEGIN")
    ((began,),) = raw.ask("SELECT now()")
    raw.execute("SELECT pg_sleep(0.1)", "INSERT INTO thing (id) VALUES (1), (2)", "COMMIT")
    with engine.connect() as connection:
        times = select(TRANSACTION.c.at, LOG.c.at, func.now()).join_from(
            LOG, TRANSACTION, TRANSACTION.c.id == LOG.c.transaction_id
        )
        for said, changed, now in connection.execute(times):
            assert began + timedelta(seconds=0.1) <= said <= changed <= now

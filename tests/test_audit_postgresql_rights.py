"""PostgreSQL's triggers and rights: what cannot be recorded is not done, whoever does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, text

from sessionwise.audit.tables import METADATA
from tests.backends import Database, on
from tests.triggered import Client, audited, forget, happened, logged, things

pytestmark = on("psycopg")

secrets = MetaData()
Table("secrets", secrets, Column("id", Integer, primary_key=True))


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.observer


@contextmanager
def owned(engine: Engine) -> Iterator[None]:
    """Let the functions belong to a role that may do no more than write to the audit."""
    functions = "SELECT oid::regprocedure::text FROM pg_proc WHERE proname ^@ 'sessionwise_audit_'"
    with engine.begin() as connection:
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
        with engine.begin() as connection:
            connection.execute(text("REASSIGN OWNED BY owner TO CURRENT_USER"))
            connection.execute(text("DROP OWNED BY owner"))
            connection.execute(text("DROP ROLE owner"))


FAULTS = {
    "log": "ALTER TABLE audit_log ADD CONSTRAINT refuses CHECK (action = '') NOT VALID",
    "transaction": "ALTER TABLE audit_transaction ADD CONSTRAINT refuses CHECK (id < 0) NOT VALID",
    "no table": "ALTER TABLE audit_log RENAME TO audit_log_gone",
    "no right": "ALTER TABLE audit_log OWNER TO CURRENT_USER; "
    "REVOKE INSERT ON audit_log FROM owner",
}
MENDED = (
    "ALTER TABLE IF EXISTS audit_log_gone RENAME TO audit_log",
    "ALTER TABLE audit_log DROP CONSTRAINT IF EXISTS refuses",
    "ALTER TABLE audit_transaction DROP CONSTRAINT IF EXISTS refuses",
)


@pytest.mark.parametrize("fault", FAULTS, ids=list(FAULTS))
def test_what_cannot_be_recorded_is_not_changed(engine: Engine, fault: str) -> None:
    with audited(engine, things), owned(engine), Client(engine) as raw:
        raw.execute("INSERT INTO thing (id, box) VALUES (1, 1), (2, 2), (3, 3)")
        forget(engine)
        raw.execute(*FAULTS[fault].split("; "))
        try:
            for statement in (
                "INSERT INTO thing (id) VALUES (9)",
                "UPDATE thing SET box = 99",
                "DELETE FROM thing",
                "TRUNCATE thing CASCADE",
            ):
                with pytest.raises(raw.driver.Error):
                    raw.execute(statement)
            assert raw.ask("SELECT id, box FROM thing ORDER BY id") == [(1, 1), (2, 2), (3, 3)]
        finally:
            raw.execute(*MENDED)
        assert logged(engine) == []


def test_rules_of_row_security(engine: Engine) -> None:
    with audited(engine, secrets), Client(engine) as raw:
        raw.together(
            "ALTER TABLE secrets ENABLE ROW LEVEL SECURITY",
            "CREATE ROLE reader",
            "GRANT ALL ON secrets TO reader",
            "CREATE POLICY few ON secrets TO reader USING (id < 2)",
            "INSERT INTO secrets VALUES (1), (2)",
            "SET ROLE reader",
            "TRUNCATE secrets",
            "RESET ROLE",
            "DROP OWNED BY reader",
            "DROP ROLE reader",
        )
        assert happened(engine)[2:] == [("TRUNCATE", "secrets", "1"), ("TRUNCATE", "secrets", "2")]


def test_rows_that_a_policy_hides_from_the_functions(engine: Engine) -> None:
    """What is not seen cannot be recorded: it is not deleted either."""
    with audited(engine, secrets), Client(engine) as raw:
        raw.execute("INSERT INTO secrets VALUES (1), (2)")
        with owned(engine):
            raw.execute(
                "ALTER TABLE secrets ENABLE ROW LEVEL SECURITY",
                "CREATE POLICY few ON secrets TO owner USING (id < 2)",
            )
            with pytest.raises(raw.driver.Error, match="row-level security"):
                raw.execute("TRUNCATE secrets")
        assert [action for action, _, _ in happened(engine)] == ["INSERT", "INSERT"]

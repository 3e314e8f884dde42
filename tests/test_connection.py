"""Technique 12: the connection, the driver's cursor, and what is attached to an engine."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.orm import Session as PlainSession

from sessionwise import LateIsolationError, LockTimeoutError, Session, UnsupportedError
from sessionwise.transaction import activity, adoption
from tests.backends import Database, on
from tests.model import User

INSERT = "INSERT INTO users (name, balance) VALUES ('Bob', 0)"


class TestCursor:
    def test_sees_pending_objects(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            with session.cursor() as cursor:
                cursor.execute("SELECT name FROM users")
                assert [tuple(row) for row in cursor.fetchall()] == [("Alice",)]

    def test_is_in_the_sessions_transaction(self, db: Database) -> None:
        with db.session() as session:
            with session.cursor() as cursor:
                cursor.execute(INSERT)
                assert cursor.rowcount == 1
            session.rollback()
            assert db.names() == []
            with session.cursor() as cursor:
                cursor.execute(INSERT)
            session.commit()
        assert db.names() == ["Bob"]

    def test_is_undone_with_its_block(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            with session.begin_nested():
                with session.cursor() as cursor:
                    cursor.execute(INSERT)
                session.rollback()
            session.commit()
        assert db.names() == ["Alice"]

    @on("sqlite", "psycopg", "psycopg-async", "psycopg2", "mariadb")
    def test_an_error_leaves_the_block_and_closes_the_cursor(self, db: Database) -> None:
        with db.session() as session:
            with pytest.raises(ZeroDivisionError), session.cursor() as cursor:
                raise ZeroDivisionError
            session.rollback()
            with pytest.raises(Exception, match=r"(?i)closed|connection"):
                cursor.execute("SELECT 1")

    @on("psycopg", "psycopg-async", "psycopg2")
    def test_is_the_drivers_own(self, db: Database) -> None:
        """COPY, each driver's way; asyncpg has no cursor that copies."""
        copy_out = "COPY users (name) TO STDOUT"
        with db.session() as session:
            session.add(User(name="Alice"))
            with session.cursor() as cursor:
                if db.driver.name == "psycopg2":
                    out = StringIO()
                    cursor.copy_expert(copy_out, out)
                    copied = out.getvalue().encode()
                elif db.driver.is_async:
                    copied = db.run(read_copy(cursor.target, copy_out))
                else:
                    with cursor.copy(copy_out) as copy:
                        copied = b"".join(copy)
        assert copied == b"Alice\n"


async def read_copy(cursor: Any, statement: str) -> bytes:
    async with cursor.copy(statement) as copy:
        return b"".join([bytes(data) async for data in copy])


def test_connection_is_the_sessions(db: Database) -> None:
    with db.session() as session:
        session.add(User(name="Alice"))
        session.flush()
        assert session.connection().scalars(select(User.name)).all() == ["Alice"]


def test_no_statement_before_the_callers_first(db: Database) -> None:
    """So that ``SET TRANSACTION ...`` works as the first statement."""
    with db.session() as session, db.statements() as seen:
        session.connection()
        assert seen == []


@on("sqlite")
class TestSqliteSavepoints:
    """Row 3 of the faults: by driver defaults a released savepoint survives a full rollback."""

    @pytest.fixture
    def fresh(self, db: Database) -> Any:
        engine = db.new_engine()
        yield engine
        db.dispose(engine)

    def ghost(self, session: Any) -> None:
        with session.begin_nested():
            session.execute(insert(User).values(name="Ghost"))
        session.rollback()

    def test_plain_leaves_a_ghost(self, db: Database) -> None:
        """The reference: where this fails, SQLAlchemy or the driver has mended it itself."""
        engine = create_engine(db.url)
        with PlainSession(engine) as session:
            self.ghost(session)
        engine.dispose()
        assert db.names() == ["Ghost"]

    def test_ours_leaves_none_on_any_engine(self, db: Database, fresh: Any) -> None:
        with db.session(fresh) as session:
            self.ghost(session)
        assert db.names() == []

    def test_in_a_transaction_that_was_there_before(self, db: Database, fresh: Any) -> None:
        with db.connection(fresh) as existing:
            existing.begin()
            target = getattr(existing, "target", existing)
            with db.session(target, join_transaction_mode="create_savepoint") as session:
                session.execute(insert(User).values(name="Ghost"))
                session.commit()
            existing.rollback()
        assert db.names() == []

    def test_on_an_engine_with_options(self, db: Database, fresh: Any) -> None:
        with db.session(fresh.execution_options(logging_token="t")) as session:
            self.ghost(session)
        assert db.names() == []

    def test_in_a_session_that_chooses_its_engine(self, db: Database) -> None:
        engine = create_engine(db.url)

        class Routing(Session):
            def get_bind(self, *args: Any, **kwargs: Any) -> Any:
                return engine

        with Routing() as session:
            self.ghost(session)
        engine.dispose()
        assert db.names() == []

    @pytest.mark.parametrize("level", ["DEFERRED", "IMMEDIATE", "EXCLUSIVE"])
    def test_begins_as_the_driver_would(self, db: Database, level: str) -> None:
        engine = db.new_engine(connect_args={"isolation_level": level})
        with db.session(engine) as session, db.statements(engine) as seen:
            self.ghost(session)
        db.dispose(engine)
        assert seen[0] == f"BEGIN {level}"
        assert db.names() == []

    def test_autocommit_stays_as_asked(self, db: Database) -> None:
        engine = db.new_engine(isolation_level="AUTOCOMMIT")
        with db.session(engine) as session, db.statements(engine) as seen:
            self.ghost(session)
        db.dispose(engine)
        assert not any(statement.startswith("BEGIN") for statement in seen)
        assert db.names() == ["Ghost"]

    def test_other_engines_are_untouched(self, db: Database, fresh: Any) -> None:
        engine = getattr(fresh, "sync_engine", fresh)
        with db.session() as session:
            self.ghost(session)
        assert not is_mended(engine)
        assert not activity.is_registered(engine)

    def test_is_removable(self, db: Database, fresh: Any) -> None:
        engine = getattr(fresh, "sync_engine", fresh)
        with db.session(fresh) as session:
            self.ghost(session)
        assert is_mended(engine)
        assert activity.is_registered(engine)
        adoption.release(engine)
        assert not is_mended(engine)
        assert not activity.is_registered(engine)


def is_mended(engine: Any) -> bool:
    return "do_savepoint" in vars(engine.dialect)


def test_adopting_twice_attaches_once() -> None:
    engine = create_engine("sqlite://")
    for _ in range(2):
        with Session(engine) as session:
            session.execute(text("SELECT 1"))
            assert activity.of(session.connection()).statements == 1
    engine.dispose()


@pytest.mark.parametrize(
    ("statement", "writes"),
    [
        ("SELECT * FROM users FOR UPDATE", False),
        ("  -- a comment\n /* another */ (select 1)", False),
        ("WITH a AS (SELECT 1) SELECT * FROM a", False),
        ("WITH a AS (DELETE FROM users RETURNING id) SELECT * FROM a", True),
        ("EXPLAIN DELETE FROM users", False),
        ("PRAGMA user_version", False),
        ("INSERT INTO users VALUES (1)", True),
        ("CALL archive()", True),
        ("truncate users", True),
    ],
)
def test_what_may_write(statement: str, writes: bool) -> None:
    assert activity.may_write(statement) is writes


class TestIsolation:
    @on("postgresql", "mariadb")
    def test_at_the_beginning(self, db: Database) -> None:
        with db.session() as session:
            session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
            session.scalars(select(User)).all()

    def test_too_late_is_an_error(self, db: Database) -> None:
        with db.session() as session:
            session.scalars(select(User)).all()
            with pytest.raises(LateIsolationError, match="isolation_level='SERIALIZABLE'"):
                session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
            session.rollback()
            session.connection(execution_options={"isolation_level": "SERIALIZABLE"})


class TestAdvisoryLock:
    @on("postgresql", "mariadb")
    @pytest.mark.parametrize("key", [42, -1, "a name", "ein ganz langer Name " * 10, "ключ"])
    def test_excludes_others_until_the_end(self, db: Database, key: Any) -> None:
        with db.session() as first, db.session() as second:
            first.advisory_lock(key)
            with pytest.raises(LockTimeoutError, match=r"0\.1 s"):
                second.advisory_lock(key, timeout=0.1)
            second.advisory_lock(f"not {key}", timeout=0)
            first.commit()
            second.advisory_lock(key, timeout=5)

    @on("sqlite")
    def test_not_on_sqlite(self, db: Database) -> None:
        with db.session() as session, pytest.raises(UnsupportedError, match="sqlite has no"):
            session.advisory_lock("key")

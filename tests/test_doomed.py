"""Transactions that the server has given up: no statement and no commit pretends otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, PendingRollbackError

from sessionwise import Outcome, TransactionDoomedError
from tests.backends import Database, on
from tests.model import Base, User
from tests.test_savepoint import deadlock

DUPLICATE = insert(User).values(name="Alice")


class Dooms:
    """What each test does to a session: an error that is swallowed."""

    @staticmethod
    def core(session: Any) -> None:
        with pytest.raises(IntegrityError):
            session.execute(DUPLICATE)

    @staticmethod
    def connection(session: Any) -> None:
        with pytest.raises(DBAPIError):
            session.connection().execute(text("SELECT 1 / 0"))

    @staticmethod
    def driver(session: Any) -> None:
        with pytest.raises(Exception, match=r"(?i)syntax"), session.cursor() as cursor:
            cursor.execute("this is not SQL")


@on("postgresql")
class TestPostgreSQL:
    @pytest.fixture(params=["core", "connection", "driver"])
    def doom(self, request: pytest.FixtureRequest) -> Any:
        return getattr(Dooms, request.param)

    def test_commit_does_not_return_normally(self, db: Database, doom: Any) -> None:
        """Row 4 of the faults: plain SQLAlchemy commits, and stores nothing."""
        with db.session() as session:
            session.execute(insert(User).values(name="Alice"))
            doom(session)
            with pytest.raises(TransactionDoomedError) as caught:
                session.commit()
            assert isinstance(caught.value, PendingRollbackError)
            assert session.outcome is Outcome.ACTIVE
            with pytest.raises(TransactionDoomedError):
                session.commit()
            session.rollback()
            assert session.outcome is Outcome.ROLLED_BACK
            session.add(User(name="Bob"))
            session.commit()
        assert db.names() == ["Bob"]

    def test_the_next_statement_says_why(self, db: Database, doom: Any) -> None:
        with db.session() as session:
            session.execute(insert(User).values(name="Alice"))
            doom(session)
            for _ in range(2):
                with pytest.raises(TransactionDoomedError):
                    session.scalars(select(User))
            with pytest.raises(TransactionDoomedError):
                session.connection().execute(text("SELECT 1"))
            session.rollback()

    def test_chained_to_the_first_error(self, db: Database) -> None:
        with db.session() as session:
            session.execute(insert(User).values(name="Alice"))
            Dooms.core(session)
            with pytest.raises(TransactionDoomedError, match="duplicate key") as caught:
                session.commit()
            assert caught.value.__cause__ is not None

    def test_rolling_back_the_savepoint_mends_it(self, db: Database, doom: Any) -> None:
        with db.session() as session:
            session.execute(insert(User).values(name="Alice"))
            with session.begin_nested():
                doom(session)
                session.rollback()
                session.add(User(name="Bob"))
            session.commit()
        assert db.names() == ["Alice", "Bob"]

    def test_releasing_raises_and_rolls_back_to_it(self, db: Database, doom: Any) -> None:
        with db.session() as session:
            session.execute(insert(User).values(name="Alice"))
            with pytest.raises(TransactionDoomedError), session.begin_nested():
                session.execute(insert(User).values(name="Bob"))
                doom(session)
            session.add(User(name="Carol"))
            session.commit()
        assert db.names() == ["Alice", "Carol"]

    def test_serialization_failure_in_a_savepoint(self, db: Database) -> None:
        """40001 under REPEATABLE READ: the savepoint clears it, as the server says."""
        with db.session() as session:
            session.add(User(id=1, name="Alice"))
            session.commit()
        with db.session() as session:
            options = {"isolation_level": "REPEATABLE READ"}
            session.connection(execution_options=options)
            session.scalars(select(User.name)).all()
            with db.observer.begin() as other:
                other.exec_driver_sql("UPDATE users SET balance = 1")
            with session.begin_nested():
                with pytest.raises(DBAPIError, match="concurrent update"):
                    session.execute(text("UPDATE users SET balance = 2"))
                session.rollback()
            session.execute(insert(User).values(name="Bob"))
            session.commit()
        assert db.names() == ["Alice", "Bob"]


def test_a_missing_bind_never_dooms(db: Database) -> None:
    with db.session() as session:
        session.execute(insert(User).values(name="Alice"))
        with pytest.raises(Exception, match="bind parameter"):
            session.execute(text("SELECT :missing"))
        session.commit()
    assert db.names() == ["Alice"]


@on("sqlite", "postgresql")
def test_a_value_the_driver_refuses_never_dooms(db: Database) -> None:
    """MariaDB's drivers refuse nothing: they send what ``str`` makes of it."""
    with db.session() as session:
        session.execute(insert(User).values(name="Alice"))
        with pytest.raises((ValueError, DBAPIError)):
            session.execute(text("SELECT :value"), {"value": object()})
        session.commit()
    assert db.names() == ["Alice"]


@on("postgresql")
def test_nul_in_a_string(db: Database) -> None:
    """psycopg refuses it before it is sent; by asyncpg the server does."""
    with db.session() as session:
        session.execute(insert(User).values(name="Alice"))
        with pytest.raises((ValueError, DBAPIError)):
            session.execute(insert(User).values(name="a\0b"))
        if db.driver.name == "asyncpg":
            with pytest.raises(TransactionDoomedError):
                session.commit()
            session.rollback()
        else:
            session.commit()
    assert db.names() == ([] if db.driver.name == "asyncpg" else ["Alice"])


@on("sqlite", "mariadb")
def test_an_ordinary_error_dooms_only_its_statement(db: Database) -> None:
    with db.session() as session:
        session.execute(insert(User).values(name="Alice"))
        Dooms.core(session)
        session.execute(insert(User).values(name="Bob"))
        session.commit()
    assert db.names() == ["Alice", "Bob"]


def test_autocommit_never_dooms(db: Database) -> None:
    engine = db.new_engine(isolation_level="AUTOCOMMIT")
    with db.session(engine) as session:
        session.execute(insert(User).values(name="Alice"))
        Dooms.core(session)
        session.execute(insert(User).values(name="Bob"))
        session.commit()
    db.dispose(engine)
    assert db.names() == ["Alice", "Bob"]


def test_failed_flush_still_raises_pending_rollback_error(db: Database) -> None:
    with db.session() as session:
        session.add_all([User(name="Alice"), User(name="Alice")])
        with pytest.raises(IntegrityError):
            session.flush()
        with pytest.raises(PendingRollbackError) as caught:
            session.commit()
        assert not isinstance(caught.value, TransactionDoomedError)
        session.rollback()


@on("mariadb")
class TestMariaDB:
    def fill(self, db: Database) -> None:
        with db.session() as session:
            session.add_all([User(id=1, name="Alice"), User(id=2, name="Bob")])
            session.commit()

    @pytest.mark.parametrize("in_savepoint", [False, True])
    def test_a_deadlock_ends_the_whole_transaction(self, db: Database, in_savepoint: bool) -> None:
        """Row 5 of the faults: plain SQLAlchemy stores the second half of the unit."""
        self.fill(db)
        with db.session() as session, deadlock(db) as lose:
            session.add(User(id=3, name="First half"))
            session.flush()
            if in_savepoint:
                with pytest.raises(DBAPIError), session.begin_nested():
                    lose(session)
            else:
                with pytest.raises(OperationalError, match="1213"):
                    lose(session)
            with pytest.raises(TransactionDoomedError, match=r"(?i)deadlock"):
                session.execute(insert(User).values(name="Second half"))
            with pytest.raises(TransactionDoomedError):
                session.commit()
            session.rollback()
        assert db.names() == ["Alice", "Bob"]

    def test_lock_wait_timeout_ends_only_its_statement(self, db: Database) -> None:
        self.fill(db)
        with db.observer.begin() as other, db.session() as session:
            other.exec_driver_sql("UPDATE users SET balance = 1 WHERE id = 1")
            session.execute(text("SET innodb_lock_wait_timeout = 1"))
            session.add(User(id=3, name="Carol"))
            session.flush()
            with pytest.raises(OperationalError, match="1205"):
                session.execute(text("UPDATE users SET balance = 2 WHERE id = 1"))
            session.commit()
        assert db.names() == ["Alice", "Bob", "Carol"]


@on("sqlite")
class TestSQLite:
    def test_busy_snapshot(self, db: Database, tmp_path: Path) -> None:
        """A transaction that has read an old state can never write."""
        url = db.url.set(database=str(tmp_path / "wal.db"))
        engine, other_engine = db.new_engine(url), create_engine(url)
        Base.metadata.create_all(other_engine)
        with db.session(engine) as session:
            session.execute(text("PRAGMA journal_mode = WAL"))
            session.commit()
            with session.begin_nested():
                session.scalars(select(User)).all()
            with other_engine.begin() as other:
                other.execute(insert(User).values(name="Alice", balance=0))
            with pytest.raises(OperationalError, match="locked"):
                session.execute(insert(User).values(name="Bob"))
            with pytest.raises(TransactionDoomedError, match="locked"):
                session.execute(insert(User).values(name="Bob"))
            with pytest.raises(TransactionDoomedError):
                session.commit()
            session.rollback()
            session.execute(insert(User).values(name="Bob"))
            session.commit()
            assert session.scalars(select(User.name)).all() == ["Alice", "Bob"]
        db.dispose(engine)
        other_engine.dispose()

    def test_what_ended_the_transaction(self, db: Database) -> None:
        with db.session() as session:
            session.execute(insert(User).values(name="Alice"))
            with pytest.raises(IntegrityError):
                session.execute(
                    text("INSERT OR ROLLBACK INTO users (name, balance) VALUES ('Alice', 0)")
                )
            with pytest.raises(TransactionDoomedError):
                session.execute(insert(User).values(name="Bob"))
            session.rollback()
        assert db.names() == []

"""Units of work whose outcome is known, a COMMIT whose reply is lost included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import create_engine, event, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from sessionwise import CommitUnknownError, Outcome, Session
from sessionwise.transaction import receipt
from sessionwise.transaction.outcome import overall
from tests.backends import Database, on
from tests.model import Base, User
from tests.proxy import Proxy, proxy


class TestOrdinaryEnds:
    def test_before_and_during(self, db: Database) -> None:
        with db.session() as session:
            assert session.outcome is None
            session.add(User(name="Alice"))
            session.flush()
            assert session.outcome is Outcome.ACTIVE
            session.commit()
            assert session.outcome is Outcome.COMMITTED
            session.scalars(select(User)).all()
            assert session.outcome is Outcome.ACTIVE
            session.rollback()
            assert session.outcome is Outcome.ROLLED_BACK
        assert session.outcome is Outcome.ROLLED_BACK

    def test_without_a_database(self, db: Database) -> None:
        with db.session() as session:
            session.commit()
            assert session.outcome is Outcome.COMMITTED
            session.begin()
            session.rollback()
            assert session.outcome is Outcome.ROLLED_BACK

    def test_close_is_a_rollback(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            session.flush()
        assert session.outcome is Outcome.ROLLED_BACK
        assert list(session.outcomes.values()) == [Outcome.ROLLED_BACK]

    def test_blocks(self, db: Database) -> None:
        with db.session() as session:
            with session.begin():
                session.add(User(name="Alice"))
            assert session.outcome is Outcome.COMMITTED
            with pytest.raises(ZeroDivisionError), session.begin():
                session.add(User(name="Bob"))
                raise ZeroDivisionError
            assert session.outcome is Outcome.ROLLED_BACK
        with db.maker().begin() as session:
            session.add(User(name="Carol"))
        assert session.outcome is Outcome.COMMITTED
        assert db.names() == ["Alice", "Carol"]

    def test_savepoints_do_not_end_the_unit(self, db: Database) -> None:
        with db.session() as session:
            with session.begin_nested():
                session.add(User(name="Alice"))
                session.commit()
                session.rollback()
            assert session.outcome is Outcome.ACTIVE
            session.commit()
        assert session.outcome is Outcome.COMMITTED

    def test_failed_flush(self, db: Database) -> None:
        with db.session() as session:
            session.add_all([User(name="Alice"), User(name="Alice")])
            with pytest.raises(IntegrityError):
                session.commit()
            session.rollback()
            assert session.outcome is Outcome.ROLLED_BACK

    @on("sqlite", "psycopg", "psycopg2", "asyncpg", "pymysql")
    def test_autocommit(self, db: Database) -> None:
        engine = db.new_engine(isolation_level="AUTOCOMMIT")
        with db.session(engine) as session:
            session.execute(insert(User).values(name="Alice"))
            session.rollback()
            assert session.outcome is Outcome.AUTOCOMMIT
        db.dispose(engine)
        assert db.names() == ["Alice"]

    @pytest.mark.parametrize(
        "mode", ["conditional_savepoint", "rollback_only", "control_fully", "create_savepoint"]
    )
    def test_joined(self, db: Database, mode: str) -> None:
        with db.connection() as connection:
            connection.begin()
            bind = getattr(connection, "target", connection)
            with db.session(bind, join_transaction_mode=mode) as session:
                session.add(User(name="Alice"))
                session.commit()
                assert session.outcome is Outcome.JOINED

    @on("postgresql")
    def test_constraint_checked_at_commit(self, db: Database) -> None:
        """COMMIT itself fails, with an answer: rolled back."""
        with db.session() as session:
            session.execute(
                text("CREATE TEMP TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
            )
            session.execute(text("INSERT INTO t VALUES (1), (1)"))
            with pytest.raises(IntegrityError):
                session.commit()
            assert session.outcome is Outcome.ROLLED_BACK
            session.rollback()


@contextmanager
def lossy(db: Database) -> Iterator[tuple[Proxy, Any]]:
    """Give a proxy and an engine that goes by way of it."""
    with proxy(db.url) as between:
        engine = db.new_engine(between.url)
        yield between, engine
        db.dispose(engine)


@on("postgresql")
class TestLostCommitWithReceipt:
    def test_reply_lost(self, db: Database) -> None:
        """The server has committed: so has commit()."""
        with lossy(db) as (between, engine), db.session(engine, receipts=True) as session:
            session.add(User(name="Alice"))
            session.flush()
            between.lose("reply")
            session.commit()
            assert between.sprung.is_set()
            assert session.outcome is Outcome.COMMITTED
            session.add(User(name="Bob"))
            session.commit()
        assert db.names() == ["Alice", "Bob"]

    def test_reply_lost_in_a_block(self, db: Database) -> None:
        with lossy(db) as (between, engine), db.session(engine, receipts=True) as session:
            with session.begin():
                session.add(User(name="Alice"))
                session.flush()
                between.lose("reply")
            assert session.outcome is Outcome.COMMITTED
        assert db.names() == ["Alice"]

    def test_request_lost(self, db: Database) -> None:
        with lossy(db) as (between, engine), db.session(engine, receipts=True) as session:
            session.add(User(name="Alice"))
            session.flush()
            between.lose("request")
            with pytest.raises(DBAPIError) as caught:
                session.commit()
            assert not isinstance(caught.value, CommitUnknownError)
            assert session.outcome is Outcome.ROLLED_BACK
            session.rollback()
            assert session.outcome is Outcome.ROLLED_BACK
        assert db.names() == []

    def test_gone_for_good(self, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(receipt, "SECONDS_TO_RESOLVE", 0.5)
        with lossy(db) as (between, engine), db.session(engine, receipts=True) as session:
            session.add(User(name="Alice"))
            session.flush()
            between.lose("reply", for_good=True)
            with pytest.raises(CommitUnknownError, match="no answer") as caught:
                session.commit()
            assert caught.value.connection_invalidated
            assert caught.value.orig is not None
            assert session.outcome is Outcome.UNKNOWN
            session.rollback()
            assert session.outcome is Outcome.UNKNOWN
        assert session.outcome is Outcome.UNKNOWN

    def test_one_statement_per_unit_that_wrote(self, db: Database) -> None:
        engine = db.new_engine(pool_size=1)
        with db.session(engine, receipts=True) as session:
            session.add(User(name="Alice"))
            session.commit()  # asks once which server this is
            with db.statements(engine) as seen:
                session.add(User(name="Bob"))
                session.commit()
            assert [statement.split()[0] for statement in seen] == ["INSERT", "SELECT"]
            with db.statements(engine) as seen:
                session.scalars(select(User.name)).all()
                session.commit()
            assert len(seen) == 1
        db.dispose(engine)


@on("postgresql", "mariadb")
class TestLostCommitWithRow:
    """A receipt in a table, for databases that do not name their transactions."""

    @pytest.fixture(autouse=True)
    def table(self, db: Database) -> Iterator[None]:
        receipt.TABLE.create(db.observer, checkfirst=True)
        yield
        receipt.TABLE.drop(db.observer)

    @pytest.mark.parametrize("loss", ["reply", "request"])
    def test_is_resolved(self, db: Database, loss: Any) -> None:
        with lossy(db) as (between, engine), db.session(engine, receipts="row") as session:
            session.add(User(name="Alice"))
            session.flush()
            between.lose(loss)
            if loss == "reply":
                session.commit()
                assert session.outcome is Outcome.COMMITTED
            else:
                with pytest.raises(DBAPIError):
                    session.commit()
                assert session.outcome is Outcome.ROLLED_BACK
                session.rollback()
        assert db.names() == (["Alice"] if loss == "reply" else [])

    def test_a_unit_that_only_reads_writes_no_row(self, db: Database) -> None:
        with db.session(receipts="row") as session, db.statements() as seen:
            session.scalars(select(User)).all()
            session.commit()
            assert len(seen) == 1
            session.add(User(name="Alice"))
            session.commit()
            assert len(seen) == 3


@on("postgresql", "mariadb")
@pytest.mark.parametrize("loss", ["reply", "request"])
def test_lost_commit_without_receipt(db: Database, loss: Any) -> None:
    with lossy(db) as (between, engine), db.session(engine) as session:
        session.add(User(name="Alice"))
        session.flush()
        between.lose(loss)
        with pytest.raises(CommitUnknownError, match="no receipt") as caught:
            session.commit()
        assert isinstance(caught.value, DBAPIError)
        assert isinstance(caught.value.__cause__, OperationalError | DBAPIError)
        assert session.outcome is Outcome.UNKNOWN
        session.rollback()
    assert db.names() == (["Alice"] if loss == "reply" else [])


class TestSeveralDatabases:
    @pytest.fixture
    def binds(self, tmp_path: Any) -> Iterator[tuple[Any, Any]]:
        engines = [create_engine(f"sqlite:///{tmp_path / name}.db") for name in "ab"]
        for engine in engines:
            Base.metadata.create_all(engine)
        yield engines[0], engines[1]
        for engine in engines:
            engine.dispose()

    def test_all_commit(self, binds: tuple[Any, Any]) -> None:
        with Session() as session:
            for engine in binds:
                statement = insert(User).values(name="Alice")
                session.execute(statement, bind_arguments={"bind": engine})
            session.commit()
            assert session.outcome is Outcome.COMMITTED
            assert session.outcomes == dict.fromkeys(binds, Outcome.COMMITTED)

    def test_some_commit(self, binds: tuple[Any, Any]) -> None:
        """The second COMMIT fails: somebody reads, and it cannot write."""
        refused: list[Any] = []

        def refuse_the_second(connection: Any) -> None:
            refused.append(connection.engine)
            if len(refused) == 2:
                other = connection.engine.connect()
                other.exec_driver_sql("BEGIN").close()
                other.exec_driver_sql("SELECT * FROM users").fetchall()
                connection.exec_driver_sql("PRAGMA busy_timeout = 1")
                others.append(other)

        others: list[Any] = []
        for engine in binds:
            event.listen(engine, "commit", refuse_the_second)
        with Session() as session:
            for engine in binds:
                statement = insert(User).values(name="Alice")
                session.execute(statement, bind_arguments={"bind": engine})
            with pytest.raises(OperationalError, match="locked"):
                session.commit()
            session.rollback()
            assert session.outcome is Outcome.PARTIAL
            assert session.outcomes[refused[0]] is Outcome.COMMITTED
            assert session.outcomes[refused[1]] is Outcome.ROLLED_BACK
        for other in others:
            other.close()


@on("psycopg", "psycopg2", "pymysql")  # the others have no two-phase transactions
class TestTwoPhase:
    def test_commit(self, db: Database) -> None:
        with db.session(twophase=True) as session:
            session.add(User(name="Alice"))
            session.commit()
            assert session.outcome is Outcome.COMMITTED
        assert db.names() == ["Alice"]

    def test_rollback(self, db: Database) -> None:
        with db.session(twophase=True) as session:
            session.add(User(name="Alice"))
            session.flush()
            session.rollback()
            assert session.outcome is Outcome.ROLLED_BACK
        assert db.names() == []

    def test_prepared_and_committed(self, db: Database) -> None:
        with db.session(twophase=True) as session:
            session.add(User(name="Alice"))
            session.prepare()
            assert session.outcome is Outcome.ACTIVE
            session.commit()
            assert session.outcome is Outcome.COMMITTED
        assert db.names() == ["Alice"]

    def test_prepared_and_rolled_back(self, db: Database) -> None:
        with db.session(twophase=True) as session:
            session.add(User(name="Alice"))
            session.prepare()
            session.rollback()
            assert session.outcome is Outcome.ROLLED_BACK
        assert db.names() == []


@on("psycopg", "psycopg2")  # two transactions in one table of MariaDB's may wait for each other
def test_a_prepare_that_fails(db: Database) -> None:
    """The second database cannot prepare: neither stores anything."""
    other = db.new_engine()
    with db.session(twophase=True) as session:
        for engine, name in ((db.engine, "Alice"), (other, "Bob")):
            statement = insert(User).values(name=name, balance=0)
            session.execute(statement, bind_arguments={"bind": engine})
        kill(session.connection(bind_arguments={"bind": other}), db)
        with pytest.raises(DBAPIError):
            session.commit()
        session.rollback()
        assert set(session.outcomes.values()) == {Outcome.ROLLED_BACK}
        assert session.outcome is Outcome.ROLLED_BACK
    db.dispose(other)
    assert db.names() == []


def kill(connection: Any, db: Database) -> None:
    """End a connection by the server."""
    postgresql = db.driver.server == "postgresql"
    ask = "SELECT pg_backend_pid()" if postgresql else "SELECT CONNECTION_ID()"
    end = "SELECT pg_terminate_backend({})" if postgresql else "KILL {}"
    number = connection.exec_driver_sql(ask).scalar()
    with db.observer.connect() as other:
        other.exec_driver_sql(end.format(number))


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], Outcome.COMMITTED),
        ([Outcome.COMMITTED, Outcome.COMMITTED], Outcome.COMMITTED),
        ([Outcome.COMMITTED, Outcome.ROLLED_BACK], Outcome.PARTIAL),
        ([Outcome.COMMITTED, Outcome.UNKNOWN], Outcome.PARTIAL),
        ([Outcome.ROLLED_BACK, Outcome.UNKNOWN], Outcome.UNKNOWN),
        ([Outcome.COMMITTED, Outcome.JOINED], Outcome.COMMITTED),
        ([Outcome.ACTIVE, Outcome.JOINED], Outcome.ACTIVE),
        ([Outcome.AUTOCOMMIT, Outcome.COMMITTED], Outcome.COMMITTED),
    ],
)
def test_overall(outcomes: list[Outcome], expected: Outcome) -> None:
    assert overall(outcomes) is expected

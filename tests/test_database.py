"""Database and AsyncDatabase: units that join, retry, end in time, and lose no update."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from sessionwise import (
    CommitHookError,
    CommitUnknownError,
    DeadlineExceededError,
    OptionError,
    Outcome,
    Retry,
    Session,
    TransactionDoomedError,
    TransactionJoinError,
)
from sessionwise.audit import Audit, actor
from sessionwise.database import AsyncDatabase, Database
from sessionwise.transaction import receipt
from tests.backends import Blocking, on
from tests.backends import Database as Backend
from tests.model import Base, Order, User
from tests.proxy import proxy


class BlockingDatabase(Blocking):
    """An AsyncDatabase whose units of work are functions over a blocking session."""

    def run(self, fn: Any, *args: Any, **options: Any) -> Any:
        async def unit(session: Any, *args: Any) -> Any:
            return await session.run_sync(lambda sync_session: fn(sync_session, *args))

        return self._run(self.target.run(unit, *args, **options))


@pytest.fixture
def make(db: Backend) -> Iterator[Any]:
    """Make a Database, or an AsyncDatabase, on the driver at hand."""
    made: list[Any] = []

    def make(url: Any = None, **options: Any) -> Any:
        url = (url or db.url).set(drivername=db.driver.dialect)
        class_: Any = AsyncDatabase if db.driver.is_async else Database
        database = class_(url, **options)
        made.append(BlockingDatabase(database, db.run) if db.driver.is_async else database)
        return made[-1]

    yield make
    for database in made:
        database.dispose(0)


@pytest.fixture
def database(database: Backend) -> Backend:
    return database


class TestUnits:
    def test_commits_at_the_end(self, db: Backend, make: Any) -> None:
        database = make()
        with database.transaction() as session:
            session.add(User(name="Alice"))
        assert session.outcome is Outcome.COMMITTED
        with pytest.raises(ZeroDivisionError), database.transaction() as session:
            session.add(User(name="Bob"))
            raise ZeroDivisionError
        assert session.outcome is Outcome.ROLLED_BACK
        assert db.names() == ["Alice"]

    def test_a_session_never_commits(self, db: Backend, make: Any) -> None:
        with make().session() as session:
            session.add(User(name="Alice"))
            session.flush()
        assert db.names() == []

    def test_no_engine_before_it_is_needed(self, make: Any) -> None:
        database = make()
        assert "engine" not in vars(getattr(database, "target", database))

    def test_run(self, db: Backend, make: Any) -> None:
        def unit(session: Any, name: str) -> str:
            session.add(User(name=name))
            return name

        assert make().run(unit, "Alice") == "Alice"
        assert db.names() == ["Alice"]

    def test_audited(self, db: Backend, make: Any) -> None:
        audit = Audit(Base.metadata, capture="session")
        audit.install(db.observer)
        with actor("alice"):
            make(audit=audit).run(lambda session: session.add(User(id=1, name="Ann")))
        with Session(db.observer) as session:
            (change,) = audit.history(session, User, 1)
        audit.uninstall(db.observer, drop_tables=True)
        assert (change.action, change.actor) == ("INSERT", "alice")

    def test_from_env(self, db: Backend, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        class_: Any = AsyncDatabase if db.driver.is_async else Database
        with pytest.raises(OptionError, match="no APP_URL"):
            class_.from_env("APP_")
        monkeypatch.setenv("APP_URL", "sqlite://")
        assert class_.from_env("APP_").url.get_backend_name() == "sqlite"

    def test_receipts_as_rows(self, db: Backend, make: Any) -> None:
        database = make(receipts="row")
        database.create_receipt_table()
        database.create_receipt_table()
        with database.transaction() as session:
            session.add(User(name="Alice"))
        with db.observer.begin() as connection:
            assert len(connection.execute(receipt.TABLE.select()).all()) == 1
            receipt.TABLE.drop(connection)

    def test_health(self, make: Any) -> None:
        assert make().health().writable


@on("sqlite3", "psycopg", "psycopg2", "pymysql")
class TestNesting:
    """For asyncio see TestNestingInATask: what nests must be in one task."""

    def test_joins(self, db: Backend, make: Any) -> None:
        database = make()
        with database.transaction() as outer:
            outer.add(User(name="Alice"))
            with database.transaction() as inner:
                assert inner == outer
                inner.add(User(name="Bob"))
            assert db.names() == []
        assert db.names() == ["Alice", "Bob"]

    def test_an_exception_that_leaves_a_part_dooms_the_whole(self, db: Backend, make: Any) -> None:
        database = make()
        with pytest.raises(TransactionDoomedError) as caught, database.transaction() as session:
            session.add(User(name="Alice"))
            with pytest.raises(ZeroDivisionError), database.transaction():
                raise ZeroDivisionError
            with pytest.raises(TransactionDoomedError):
                session.scalars(select(User))
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert session.outcome is Outcome.ROLLED_BACK
        assert db.names() == []

    def test_savepoint(self, db: Backend, make: Any) -> None:
        database = make()
        with database.transaction() as session:
            session.add(User(name="Alice"))
            with pytest.raises(ZeroDivisionError), database.transaction("savepoint") as inner:
                inner.add(User(name="Bob"))
                raise ZeroDivisionError
        assert db.names() == ["Alice"]

    def test_terms_must_fit(self, make: Any) -> None:
        database = make()
        with database.transaction(timeout=60):
            with pytest.raises(TransactionJoinError, match="isolation='SERIALIZABLE'"):
                database.transaction(isolation="SERIALIZABLE").__enter__()
            with pytest.raises(TransactionJoinError, match="read_only=True"):
                database.transaction(read_only=True).__enter__()
            with pytest.raises(TransactionJoinError, match="timeout=90"):
                database.transaction(timeout=90).__enter__()
            with database.transaction(timeout=10):
                pass


@on("psycopg", "psycopg2", "pymysql")
def test_a_new_unit_inside_another(db: Backend, make: Any) -> None:
    """On SQLite a second writer waits for the first: there the two cannot both write.

    The names are new: for one that was deleted a moment ago MariaDB locks its neighbours, too.
    """
    database, names = make(), [uuid4().hex, uuid4().hex]
    with pytest.raises(ZeroDivisionError), database.transaction() as outer:
        outer.add(User(name=names[0]))
        outer.flush()
        with database.transaction("new") as inner:
            assert inner != outer
            inner.add(User(name=names[1]))
        raise ZeroDivisionError
    assert db.names() == [names[1]]


@on("aiosqlite", "asyncpg", "psycopg-async", "aiomysql")
class TestNestingInATask:
    def test_joins(self, db: Backend, make: Any) -> None:
        database = make().target

        async def main() -> None:
            async with database.transaction() as outer:
                outer.add(User(name="Alice"))
                async with database.transaction() as inner:
                    assert inner is outer
                    inner.add(User(name="Bob"))
                async with database.transaction("savepoint") as inner:
                    inner.add(User(name="Carol"))
                    await inner.rollback()
                with pytest.raises(TransactionJoinError, match="isolation='SERIALIZABLE'"):
                    await database.transaction(isolation="SERIALIZABLE").__aenter__()
            assert outer.outcome is Outcome.COMMITTED

        db.run(main())
        assert db.names() == ["Alice", "Bob"]

    def test_an_exception_that_leaves_a_part_dooms_the_whole(self, db: Backend, make: Any) -> None:
        database = make().target

        async def main() -> None:
            with pytest.raises(TransactionDoomedError):
                async with database.transaction() as session:
                    session.add(User(name="Alice"))
                    with pytest.raises(ZeroDivisionError):
                        async with database.transaction():
                            raise ZeroDivisionError
            assert session.outcome is Outcome.ROLLED_BACK

        db.run(main())
        assert db.names() == []

    def test_a_child_task_does_not_join(self, db: Backend, make: Any) -> None:
        database = make().target

        async def child(parent: Any) -> bool:
            async with database.transaction(read_only=True) as session:
                return session is parent

        async def main() -> bool:
            async with database.transaction(read_only=True) as session:
                return await asyncio.create_task(child(session))

        assert db.run(main()) is False

    def test_transactional(self, db: Backend, make: Any) -> None:
        database = make().target

        @database.transactional(retry=Retry())
        async def add(session: Any, name: str) -> str:
            session.add(User(name=name))
            return name

        assert db.run(add("Alice")) == "Alice"
        assert db.names() == ["Alice"]


@on("sqlite3", "psycopg", "pymysql")
def test_transactional(db: Backend, make: Any) -> None:
    database = make()

    @database.transactional(retry=Retry())
    def add(session: Any, name: str, *, balance: int = 0) -> str:
        """Add a user."""
        session.add(User(name=name, balance=balance))
        return name

    assert add("Alice", balance=1) == "Alice"
    assert add.__doc__ == "Add a user."
    assert db.names() == ["Alice"]


class TestReadOnly:
    @on("postgresql", "mariadb")
    def test_the_server_refuses_to_write(self, db: Backend, make: Any) -> None:
        with pytest.raises(DBAPIError), make().transaction(read_only=True) as session:
            session.add(User(name="Alice"))
        assert db.names() == []

    @on("sqlite3", "aiosqlite")
    def test_goes_to_a_reader(self, db: Backend, make: Any, tmp_path: Any) -> None:
        reader = db.url.set(database=str(tmp_path / "reader.db"))
        engine = create_engine(reader)
        Base.metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(insert(User).values(name="replica", balance=0))
        engine.dispose()
        database = make(readers=[reader.set(drivername=db.driver.dialect)])
        with database.transaction(read_only=True) as session:
            assert session.scalars(select(User.name)).all() == ["replica"]
        with database.transaction() as session:
            assert session.scalars(select(User.name)).all() == []


class TestDefaults:
    @on("sqlite")
    def test_sqlite(self, db: Backend, make: Any, tmp_path: Any) -> None:
        database = make(db.url.set(database=str(tmp_path / "own.db")))
        with database.transaction() as session:
            pragma = {
                name: session.scalar(text(f"PRAGMA {name}"))
                for name in ("foreign_keys", "journal_mode")
            }
        assert pragma == {"foreign_keys": 1, "journal_mode": "wal"}

    @on("sqlite")
    def test_foreign_keys_are_checked(self, make: Any) -> None:
        with pytest.raises(IntegrityError), make().transaction() as session:
            session.add(Order(user_id=1, amount=1))

    @on("mariadb")
    def test_mariadb_sees_what_others_have_committed(self, db: Backend, make: Any) -> None:
        """Row 17 of the faults: on MariaDB's own default a refresh gives the old row."""
        with make().session() as session:
            session.add(User(name="Alice", balance=1))
            session.commit()
            user = session.scalars(select(User)).one()
            with db.observer.begin() as other:
                other.exec_driver_sql("UPDATE users SET balance = 2")
            session.refresh(user)
            assert user.balance == 2

    @on("postgresql")
    def test_postgresql_knows_the_application(self, make: Any) -> None:
        with make().session() as session:
            assert session.scalar(text("SHOW application_name")) == "sessionwise"


class TestTimeout:
    @on("postgresql", "mariadb")
    def test_the_server_ends_the_statement(self, db: Backend, make: Any) -> None:
        sleep = "pg_sleep(5)" if db.driver.server == "postgresql" else "sleep(5)"
        database = make()
        with pytest.raises(DBAPIError), database.transaction(timeout=0.3) as session:
            session.execute(text(f"SELECT {sleep}"))
        with database.transaction() as session:
            if db.driver.server == "mariadb":
                assert session.scalar(text("SELECT @@max_statement_time")) == 0

    def test_no_statement_is_sent_when_the_time_is_up(self, db: Backend, make: Any) -> None:
        with (
            pytest.raises(DeadlineExceededError, match=r"0\.1 s"),
            make().transaction(timeout=0.1) as session,
        ):
            session.add(User(name="Alice"))
            session.flush()
            time.sleep(0.2)
            session.scalars(select(User))
        assert session.outcome is Outcome.ROLLED_BACK
        assert db.names() == []


class TestRetry:
    WRITERS, TIMES = 8, 50

    @on("sqlite3", "psycopg", "psycopg2", "pymysql")
    def test_no_update_is_lost_by_threads(self, db: Backend, make: Any) -> None:
        """Row 18 of the faults."""
        self.add_counter(make)
        database = make(pool_size=self.WRITERS)

        def write(_number: int) -> None:
            for _ in range(self.TIMES):
                database.run(self.increment, retry=Retry(attempts=200), **self.terms(db))

        with ThreadPoolExecutor(self.WRITERS) as threads:
            list(threads.map(write, range(self.WRITERS)))
        assert self.counted(db) == self.WRITERS * self.TIMES

    @on("aiosqlite", "asyncpg", "psycopg-async", "aiomysql")
    def test_no_update_is_lost_by_tasks(self, db: Backend, make: Any) -> None:
        self.add_counter(make)
        database = make(pool_size=self.WRITERS).target

        async def increment(session: Any) -> None:
            await session.run_sync(self.increment)

        async def write() -> None:
            for _ in range(self.TIMES):
                await database.run(increment, retry=Retry(attempts=200), **self.terms(db))

        async def main() -> None:
            await asyncio.gather(*(write() for _ in range(self.WRITERS)))

        db.run(main())
        assert self.counted(db) == self.WRITERS * self.TIMES

    def terms(self, db: Backend) -> dict[str, Any]:
        """Where writers do not wait for one another, only SERIALIZABLE loses no update."""
        return {} if db.driver.server == "sqlite" else {"isolation": "SERIALIZABLE"}

    def add_counter(self, make: Any) -> None:
        with make().transaction() as session:
            session.add(User(id=1, name="counter"))

    @staticmethod
    def increment(session: Any) -> None:
        user = session.get_one(User, 1)
        user.balance = user.balance + 1

    def counted(self, db: Backend) -> int:
        with db.observer.connect() as connection:
            return connection.scalar(select(User.balance)) or 0

    @on("mariadb", "psycopg", "asyncpg")
    @pytest.mark.parametrize("in_a_savepoint", [False, True])
    def test_a_real_deadlock(self, db: Backend, make: Any, in_a_savepoint: bool) -> None:
        database, meeting = make(), threading.Barrier(2)
        with database.transaction() as session:
            session.add_all([User(id=1, name="Alice"), User(id=2, name="Bob")])
        runs: list[int] = []
        lock = "UPDATE users SET balance = balance + 1 WHERE id = {}"

        def cross(session: Any, first: int, second: int) -> None:
            runs.append(first)
            session.execute(text(lock.format(first)))
            if len(runs) <= 2:
                meeting.wait(10)
            with session.begin_nested() if in_a_savepoint else nullcontext():
                session.execute(text(lock.format(second)))

        def other() -> None:
            plain = Database(db.observer.url)
            plain.run(cross, 2, 1, retry=Retry())
            plain.dispose()

        thread = threading.Thread(target=other)
        thread.start()
        database.run(cross, 1, 2, retry=Retry())
        thread.join()
        assert len(runs) == 3
        with db.observer.connect() as connection:
            assert connection.scalars(select(User.balance)).all() == [2, 2]

    def test_gives_up_after_its_attempts(self, make: Any) -> None:
        runs: list[int] = []

        def unit(_session: Any) -> None:
            runs.append(1)
            raise KeyError

        retry = Retry(attempts=3, backoff=0.001, on=KeyError)
        with pytest.raises(KeyError):
            make().run(unit, retry=retry)
        assert len(runs) == 3
        runs.clear()
        with pytest.raises(KeyError):
            make().run(unit, retry=Retry(backoff=0.001, on=ValueError))
        with pytest.raises(KeyError):
            make().run(unit)
        assert len(runs) == 2

    def test_never_after_a_commit_hook_failed(self, db: Backend, make: Any) -> None:
        runs: list[int] = []

        def fail() -> None:
            raise OperationalError("deadlock", None, Exception(1213))

        def unit(session: Any) -> None:
            runs.append(1)
            session.add(User(name="Alice"))
            session.on_commit(fail)

        with pytest.raises(CommitHookError):
            make().run(unit, retry=Retry(on=Exception))
        assert runs == [1]
        assert db.names() == ["Alice"]

    @on("pymysql", "psycopg")
    @pytest.mark.parametrize("idempotent", [False, True])
    def test_unknown_is_run_again_only_where_it_is_idempotent(
        self, db: Backend, make: Any, idempotent: bool
    ) -> None:
        runs: list[int] = []
        with proxy(db.url) as between:
            database = make(between.url, receipts=False)

            def unit(session: Any) -> None:
                runs.append(1)
                session.merge(User(id=1, name="Alice"))
                session.flush()
                if len(runs) == 1:
                    between.lose("reply")

            retry = Retry(idempotent=idempotent, on=DBAPIError)
            if idempotent:
                database.run(unit, retry=retry)
            else:
                with pytest.raises(CommitUnknownError):
                    database.run(unit, retry=retry)
            database.dispose(0)
        assert len(runs) == (2 if idempotent else 1)
        assert db.names() == ["Alice"]

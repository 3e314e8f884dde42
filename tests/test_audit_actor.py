"""Who is at work is told rightly, to the right transaction, and to no other."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import psycopg2.extensions
import pymysql.cursors
import pytest
from sqlalchemy import insert, select, text

from sessionwise.asyncio import AsyncSession
from sessionwise.audit import Audit, AuditLog, AuditTransaction, actor
from sessionwise.errors import AuditError, OptionError
from tests.archive import Author
from tests.audited import empty, installed, told
from tests.backends import Database, on

LOG, SAID = AuditLog.__table__, AuditTransaction.__table__


@pytest.fixture(scope="module")
def audit(database: Database) -> Iterator[Audit]:
    with installed(database) as audit:
        yield audit


@pytest.fixture
def archive(db: Database, audit: Audit) -> Database:
    """Give a database whose archive and audit are empty."""
    empty(db)
    return db


def transactions(db: Database) -> int:
    """Return how many transactions there are; each has a change."""
    with db.observer.connect() as connection:
        ids = set(connection.scalars(select(SAID.c.id)))
        assert ids == set(connection.scalars(select(LOG.c.transaction_id)))
        return len(ids)


def author(ident: int) -> Author:
    return Author(id=ident, name=f"author {ident}")


class TestAtOnce:
    @on("sqlite3", "psycopg", "psycopg2", "pymysql")
    def test_threads(self, archive: Database, audit: Audit) -> None:
        sqlite = archive.driver.server == "sqlite"
        engine = archive.new_engine(
            **(
                {"connect_args": {"timeout": 60}}
                if sqlite
                else {"pool_size": 3, "max_overflow": 0}
            )
        )
        errors: list[BaseException] = []
        start = threading.Barrier(8)

        def work(number: int) -> None:
            try:
                start.wait()
                for turn in range(5):
                    ident = number * 100 + turn
                    with actor(f"thread {number}", reason=f"turn {turn}"):
                        with archive.session(engine, audit=audit) as session:
                            session.add(author(ident))
                            session.commit()
            except BaseException as error:  # noqa: BLE001 - looked at below
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        archive.dispose(engine)
        assert errors == []
        assert sorted(told(archive)) == sorted(
            (str(n * 100 + t), f"thread {n}", f"turn {t}") for n in range(1, 9) for t in range(5)
        )
        assert transactions(archive) == 40

    @on("psycopg-async", "asyncpg", "aiomysql")
    def test_tasks(self, archive: Database, audit: Audit) -> None:
        engine = archive.new_engine(pool_size=5, max_overflow=0)

        async def work(number: int) -> None:
            name = None if number % 5 == 0 else f"task {number}"
            with actor(name):
                async with AsyncSession(engine, audit=audit) as session:
                    session.add(author(number))
                    await session.flush()
                    await asyncio.sleep(0.001)
                    if number % 7 == 0:
                        await session.rollback()
                        session.add(author(number))
                    await session.commit()

        async def all_of_them() -> None:
            with actor(reason="together"):
                async with asyncio.TaskGroup() as group:
                    for number in range(1, 51):
                        group.create_task(work(number))

        archive.run(all_of_them())
        archive.dispose(engine)
        assert sorted(told(archive), key=lambda row: int(row[0])) == [
            (str(n), None if n % 5 == 0 else f"task {n}", "together") for n in range(1, 51)
        ]
        assert transactions(archive) == 50


class TestOneConnection:
    """What one transaction was told does not reach the next one on its connection."""

    @pytest.fixture
    def engine(self, archive: Database) -> Iterator[Any]:
        engine = archive.new_engine(pool_size=1, max_overflow=0)
        yield engine
        archive.dispose(engine)

    @pytest.mark.parametrize("end", ["commit", "rollback", "close", "error"])
    def test_is_used_again(self, archive: Database, audit: Audit, engine: Any, end: str) -> None:
        with archive.session(engine, audit=audit) as session:
            with actor("alice"):
                session.add(author(1))
                session.flush()
                if end == "error":
                    with pytest.raises(Exception, match=r".*"):
                        session.execute(text("INSERT INTO nowhere VALUES (1)"))
                if end in {"commit", "rollback"}:
                    getattr(session, end)()
        with archive.session(engine, audit=audit) as session:
            session.add(author(2))
            session.commit()
        with archive.connection(engine) as connection:  # without a session
            connection.execute(Author.__table__.insert(), {"id": 3, "name": "3", "balance": 0})
            connection.commit()
        first = [("1", "alice", None)] if end == "commit" else []
        assert told(archive) == [*first, ("2", None, None), ("3", None, None)]

    def test_a_session_is_used_again(self, archive: Database, audit: Audit, engine: Any) -> None:
        with archive.session(engine, audit=audit) as session:
            for ident, name in enumerate(["alice", None, "bob", "bob", None], 1):
                with actor(name):
                    session.add(author(ident))
                    session.commit()
        assert [row[1] for row in told(archive)] == ["alice", None, "bob", "bob", None]
        assert transactions(archive) == 5


class TestInATransaction:
    def test_the_actor_changes(self, archive: Database, audit: Audit) -> None:
        with archive.session(audit=audit) as session:
            for ident, name in enumerate(["alice", "alice", "bob", None, "alice"], 1):
                with actor(name):
                    session.add(author(ident))
                    session.flush()
            session.commit()
        assert [row[1] for row in told(archive)] == ["alice", "alice", "bob", None, "alice"]
        assert transactions(archive) == 4

    def test_blocks_in_blocks(self, archive: Database, audit: Audit) -> None:
        with archive.session(audit=audit) as session, actor("alice", reason="outer", a=1):
            session.add(author(1))
            session.flush()
            with actor(reason="inner", b=2):
                session.add(author(2))
                session.flush()
                with actor("bob"):
                    session.add(author(3))
                    session.flush()
            session.add(author(4))
            session.commit()
        assert told(archive) == [
            ("1", "alice", "outer"),
            ("2", "alice", "inner"),
            ("3", "bob", "inner"),
            ("4", "alice", "outer"),
        ]

    def test_who_is_at_work_counts_when_it_is_sent(self, archive: Database, audit: Audit) -> None:
        with archive.session(audit=audit) as session:
            with actor("alice"):
                session.add(author(1))
            with actor("bob"):
                session.commit()
        assert told(archive) == [("1", "bob", None)]

    @pytest.mark.parametrize("undone", [True, False], ids=["undone", "released"])
    @pytest.mark.parametrize("inside", ["alice", "bob"])
    def test_savepoints(self, archive: Database, audit: Audit, inside: str, undone: bool) -> None:
        with archive.session(audit=audit) as session, actor("alice"):
            session.add(author(1))
            session.flush()
            with session.begin_nested() as savepoint:
                with actor(inside):
                    session.add(author(2))
                    session.flush()
                if undone:
                    savepoint.rollback()
            session.add(author(3))
            session.flush()
            with session.begin_nested():
                session.add(author(4))
            session.commit()
        expected = [("1", "alice", None), ("3", "alice", None), ("4", "alice", None)]
        if not undone:
            expected.insert(1, ("2", inside, None))
        assert told(archive) == expected
        transactions(archive)

    @pytest.mark.parametrize("undone", [True, False], ids=["undone", "released"])
    def test_the_first_change_in_a_savepoint(
        self, archive: Database, audit: Audit, undone: bool
    ) -> None:
        with archive.session(audit=audit) as session, actor("alice"):
            with session.begin_nested():
                with session.begin_nested() as inner:
                    session.add(author(1))
                    session.flush()
                    if undone:
                        inner.rollback()
                session.add(author(2))
            session.add(author(3))
            session.commit()
        assert told(archive) == [
            *([] if undone else [("1", "alice", None)]),
            ("2", "alice", None),
            ("3", "alice", None),
        ]
        assert transactions(archive) == 1

    def test_what_json_cannot_say(self) -> None:
        with pytest.raises(OptionError, match="JSON"), actor("alice", what=object()):
            pass


def sqlite_sent(sent: list[str]) -> type:
    class Cursor(sqlite3.Cursor):
        def execute(self, query: str, *args: Any) -> Any:
            sent.append(query)
            return super().execute(query, *args)

    class Connection(sqlite3.Connection):
        def cursor(self, *_: Any) -> Any:
            return super().cursor(Cursor)

    return Connection


def psycopg_sent(sent: list[str]) -> type:
    class Cursor(psycopg.Cursor[Any]):
        def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            sent.append(str(query))
            return super().execute(query, *args, **kwargs)

    return Cursor


def psycopg2_sent(sent: list[str]) -> type:
    class Cursor(psycopg2.extensions.cursor):
        def execute(self, query: Any, *args: Any) -> Any:
            sent.append(str(query))
            return super().execute(query, *args)

    return Cursor


def pymysql_sent(sent: list[str]) -> type:
    class Cursor(pymysql.cursors.Cursor):
        def execute(self, query: Any, *args: Any) -> Any:
            sent.append(str(query))
            return super().execute(query, *args)

    return Cursor


FACTORIES: dict[str, tuple[str, Callable[[list[str]], type]]] = {
    "sqlite3": ("factory", sqlite_sent),
    "psycopg": ("cursor_factory", psycopg_sent),
    "psycopg2": ("cursor_factory", psycopg2_sent),
    "pymysql": ("cursorclass", pymysql_sent),
}
TELLS = {
    "sqlite": (["INSERT OR REPLACE INTO audit_context"], ["DELETE FROM audit_context"]),
    "postgresql": (["SELECT set_config('sessionwise.audit'"], []),
    "mariadb": (["SET @sessionwise_audit"], ["SET @sessionwise_audit = NULL"]),
}


@on("sqlite3", "psycopg", "psycopg2", "pymysql")
class TestStatements:
    """What a driver is given, whether SQLAlchemy sees it or not."""

    @pytest.fixture
    def sent(self) -> list[str]:
        return []

    @pytest.fixture
    def engine(self, archive: Database, audit: Audit, sent: list[str]) -> Iterator[Any]:
        """Give an engine whose audit has looked for triggers, and whose connection is in use."""
        option, factory = FACTORIES[archive.driver.name]
        engine = archive.new_engine(
            pool_size=1, max_overflow=0, connect_args={option: factory(sent)}
        )
        with archive.session(engine, audit=audit) as session, actor("warm"):
            session.add(author(99))
            session.commit()
        sent.clear()
        yield engine
        archive.dispose(engine)

    @staticmethod
    def kinds(sent: list[str]) -> list[str]:
        """Leave out how a transaction begins and ends, which drivers do differently."""
        frame = ("BEGIN", "COMMIT", "ROLLBACK", "--", "-- ")
        return [one for one in sent if not one.startswith(frame)]

    def test_a_unit_that_reads(
        self, archive: Database, audit: Audit, engine: Any, sent: list[str]
    ) -> None:
        with archive.session(engine, audit=audit) as session, actor("alice"):
            everyone = session.scalars(select(Author)).all()
            assert session.get(Author, 99) in everyone
            session.commit()
            (statement,) = self.kinds(sent)
            assert statement.startswith("SELECT authors")
            if archive.driver.server == "postgresql":
                said = text("SELECT nullif(current_setting('sessionwise.audit', true), '')")
                assert session.scalar(said) is None

    def test_a_unit_that_writes_twice(
        self, archive: Database, audit: Audit, engine: Any, sent: list[str]
    ) -> None:
        first, last = TELLS[archive.driver.server]
        with archive.session(engine, audit=audit) as session, actor("alice"):
            session.execute(text("UPDATE authors SET balance = 1"))
            session.execute(text("UPDATE authors SET balance = 2"))
            session.commit()
        expected = [*first, "UPDATE", "UPDATE", *last]
        found = self.kinds(sent)
        assert len(found) == len(expected), found
        assert all(one.startswith(start) for one, start in zip(found, expected, strict=True))

    def test_nobody_is_told_of_where_that_is_not_needed(
        self, archive: Database, audit: Audit, engine: Any, sent: list[str]
    ) -> None:
        with archive.session(engine, audit=audit) as session:
            session.execute(text("UPDATE authors SET balance = 1"))
            session.commit()
        needed = 1 if archive.driver.server == "postgresql" else 3
        assert len(self.kinds(sent)) == needed


def test_an_actor_is_not_lost_where_each_statement_is_a_transaction(
    archive: Database, audit: Audit
) -> None:
    options = {"isolation_level": "AUTOCOMMIT"}
    with archive.session(audit=audit) as session:
        session.connection(execution_options=options)
        session.execute(insert(Author).values(id=1, name="Ann"))
    with archive.session(audit=audit) as session, actor("alice"):
        session.connection(execution_options=options)
        add = insert(Author).values(id=2, name="Bob")
        if archive.driver.server == "mariadb":  # its variables are the connection's
            session.execute(add)
        else:
            with pytest.raises(AuditError, match="AUTOCOMMIT"):
                session.execute(add)
    theirs = [("2", "alice", None)] if archive.driver.server == "mariadb" else []
    assert told(archive) == [("1", None, None), *theirs]

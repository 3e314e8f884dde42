"""One session, one thread or task at a time; sessions that nobody closes are told of."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import IllegalStateChangeError

from sessionwise import ConcurrentUseError, LeakedSessionWarning, Session
from sessionwise.asyncio import AsyncSession
from tests.backends import Database, on
from tests.model import User

on_sync = on("psycopg", "psycopg2", "pymysql")
on_async = on("psycopg-async", "asyncpg", "aiomysql")


def sleeping(db: Database, seconds: float) -> Any:
    return text(f"SELECT {'pg_sleep' if db.driver.server == 'postgresql' else 'sleep'}({seconds})")


class Running:
    """A statement that another thread runs on a session."""

    def __init__(self, db: Database, session: Session, seconds: float = 0.6) -> None:
        self._session, self._statement = session, sleeping(db, seconds)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._session.execute(self._statement)
        except BaseException as error:  # noqa: BLE001 -- looked at by the test
            self.error = error

    def __enter__(self) -> Running:
        self._thread.start()
        time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()


class TestThreads:
    @on_sync
    def test_overlapping_calls(self, db: Database) -> None:
        with db.session() as session:
            with Running(db, session) as running:
                places = (
                    rf"{Path(__file__).name}:\d+ while the call at .*{Path(__file__).name}:\d+"
                )
                with pytest.raises(ConcurrentUseError, match=places) as caught:
                    session.scalars(select(User))
                assert isinstance(caught.value, IllegalStateChangeError)
                for verb in (session.commit, session.rollback, session.flush, session.connection):
                    with pytest.raises(ConcurrentUseError):
                        verb()
            assert running.error is None
            assert session.scalars(select(User)).all() == []

    @on_sync
    @pytest.mark.parametrize("verb", ["close", "reset", "invalidate"])
    def test_close_while_a_statement_runs(self, db: Database, verb: str) -> None:
        session = db.session()
        session.scalars(select(User)).all()
        with Running(db, session) as running:
            getattr(session, verb)()
        assert running.error is None
        assert not session.in_transaction()
        assert db.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]

    @on("sqlite3", "psycopg", "pymysql")
    def test_serial_hand_over(self, db: Database) -> None:
        engine = db.new_engine(
            connect_args={"check_same_thread": False} if db.driver.server == "sqlite" else {}
        )
        with db.session(engine) as session:
            session.add(User(name="Alice"))
            for _ in range(3):
                thread = threading.Thread(target=lambda: session.scalars(select(User)).all())
                thread.start()
                thread.join()
            session.commit()
        db.dispose(engine)
        assert db.names() == ["Alice"]


class TestTasks:
    @on_async
    def test_overlapping_calls_on_a_warm_pool(self, db: Database) -> None:
        """Row 12 of the faults: plain SQLAlchemy lets three tasks share a session, at times."""

        async def main() -> list[Any]:
            async with AsyncSession(db.engine) as session:
                await session.execute(sleeping(db, 0))
                statement = sleeping(db, 0.2)
                calls = [session.execute(statement) for _ in range(3)]
                return await asyncio.gather(*calls, return_exceptions=True)

        results = db.run(main())
        errors = [result for result in results if isinstance(result, Exception)]
        assert [type(error) for error in errors] == [ConcurrentUseError] * 2

    @on_async
    def test_close_while_a_statement_runs(self, db: Database) -> None:
        async def main() -> None:
            session = AsyncSession(db.engine)
            await session.scalars(select(User))
            running = asyncio.create_task(session.execute(sleeping(db, 0.4)))
            await asyncio.sleep(0.1)
            await session.close()
            await running
            assert not session.in_transaction()

        db.run(main())

    @on_async
    def test_cancellation(self, db: Database) -> None:
        async def main() -> None:
            async with AsyncSession(db.engine) as session:
                await session.scalars(select(User))
                running = asyncio.create_task(session.execute(sleeping(db, 5)))
                await asyncio.sleep(0.1)
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
                await session.rollback()
                assert (await session.scalars(select(User))).all() == []

        db.run(main())


class TestReentry:
    def test_listeners_may_execute(self, db: Database) -> None:
        seen: list[int] = []

        def look(session: Session, _context: Any) -> None:
            seen.append(len(session.scalars(select(User.name)).all()))

        with db.session() as session:
            sync_session = getattr(session, "sync_session", session)
            event.listen(sync_session, "after_flush", look)
            session.add(User(name="Alice"))
            session.commit()
        assert seen == [1]

    def test_loaders(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            session.commit()
            db.read_committed(session)
            user = session.scalars(select(User)).one()
            session.expire(user)
            session.refresh(user)
            assert user.name == "Alice"


class TestLeaks:
    @on("sqlite3", "psycopg", "psycopg2", "pymysql")
    def test_names_the_line_where_the_unit_began(self, db: Database) -> None:
        def leak() -> None:
            session = db.session()
            session.scalars(select(User)).all()

        line = leak.__code__.co_firstlineno + 2
        with pytest.warns(LeakedSessionWarning, match=rf"{Path(__file__).name}:{line} "):
            leak()
            gc.collect()

    def test_not_where_no_connection_is_held(self, db: Database) -> None:
        db.session().begin()
        session = db.session()
        session.scalars(select(User)).all()
        session.rollback()
        del session
        gc.collect()

    def test_not_at_the_interpreters_exit(self) -> None:
        program = (
            "from sqlalchemy import create_engine, text\n"
            "from sessionwise import Session\n"
            "session = Session(create_engine('sqlite://'))\n"
            "session.execute(text('SELECT 1'))\n"
        )
        command = [sys.executable, "-W", "error", "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr == ""

"""Technique 1: one session per task, greenlet or thread, gone with its owner; explicit scopes."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import ref

import greenlet
import pytest
from sqlalchemy import create_engine, orm, select, text
from sqlalchemy.ext.asyncio import AsyncSession as PlainAsyncSession
from sqlalchemy.ext.asyncio import async_sessionmaker as plain_async_sessionmaker

from sessionwise import CommitHookError, LeakedSessionWarning, scoped_session, sessionmaker
from sessionwise.asyncio import async_scoped_session, async_sessionmaker
from tests.backends import Database, on
from tests.model import User

on_sync = on("sqlite3", "psycopg", "psycopg2", "pymysql")
on_async = on("aiosqlite", "psycopg-async", "asyncpg", "aiomysql")


def entries(registry: Any) -> int:
    return len(registry.registry)


class TestThreads:
    @on_sync
    def test_each_has_its_own(self, db: Database) -> None:
        registry, seen = scoped_session(sessionmaker(db.engine)), []

        def work() -> None:
            session = registry()
            assert registry() is session
            seen.append(session)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen[0] is not seen[1]

    @on_sync
    def test_a_thousand_that_never_remove(self, db: Database) -> None:
        registry = scoped_session(sessionmaker(db.engine))

        def work(_number: int) -> None:
            thread = threading.Thread(target=lambda: registry.scalars(select(User.name)).all())
            thread.start()
            thread.join()

        with ThreadPoolExecutor(4) as starters:
            list(starters.map(work, range(1000)))
        assert entries(registry) == 0

    @on_sync
    def test_ending_rolls_back(self, db: Database) -> None:
        registry = scoped_session(sessionmaker(db.engine))

        def work() -> None:
            registry.add(User(name="Alice"))
            registry.flush()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert entries(registry) == 0
        assert db.names() == []

    @on_sync
    def test_remove(self, db: Database) -> None:
        registry = scoped_session(sessionmaker(db.engine))
        first = registry()
        registry.remove()
        assert registry() is not first
        registry.remove()
        assert entries(registry) == 0


@on_sync
def test_greenlets(db: Database) -> None:
    registry, seen = scoped_session(sessionmaker(db.engine)), []

    def work() -> None:
        seen.append(registry())
        registry.scalars(select(User.name)).all()

    for _ in range(2):
        greenlet.greenlet(work).switch()
    gc.collect()
    assert seen[0] is not seen[1]
    assert registry() not in seen
    registry.remove()
    assert entries(registry) == 0


@on_sync
def test_explicit_scope_function(db: Database) -> None:
    current = ["a"]
    registry = scoped_session(sessionmaker(db.engine), lambda: current[0])
    first = registry()
    current[0] = "b"
    assert registry() is not first
    registry.remove()
    current[0] = "a"
    assert registry() is first
    registry.remove()


class TestTasks:
    @on_async
    def test_a_thousand_that_never_remove(self, db: Database) -> None:
        """Row 12 of the faults: with SQLAlchemy each finished task leaves its entry."""
        registry = async_scoped_session(async_sessionmaker(db.engine))

        async def work() -> Any:
            session = registry()
            await session.scalars(select(User.name))
            await session.commit()
            return session

        async def main() -> list[Any]:
            gate = asyncio.Semaphore(5)

            async def gated() -> Any:
                async with gate:
                    return await work()

            return await asyncio.gather(*(asyncio.create_task(gated()) for _ in range(1000)))

        sessions = db.run(main())
        assert len({id(session) for session in sessions}) == 1000
        assert entries(registry) == 0

    @on_async
    def test_a_connection_that_is_held_is_terminated(self, db: Database) -> None:
        engine = db.new_engine()
        registry = async_scoped_session(async_sessionmaker(engine))

        async def work() -> None:
            registry.add(User(name="Alice"))
            await registry.flush()

        async def main() -> None:
            with pytest.warns(LeakedSessionWarning, match=r"a finished task .*test_scope\.py:\d+"):
                await asyncio.create_task(work())
                await asyncio.sleep(0)
            assert entries(registry) == 0
            assert engine.pool.checkedout() == 0
            await engine.dispose()

        db.run(main())
        assert db.names() == []

    @on_sync
    def test_sync_sessions(self, db: Database) -> None:
        registry = scoped_session(sessionmaker(db.engine))

        async def work() -> Any:
            registry.scalars(select(User.name)).all()
            return registry()

        async def main() -> list[Any]:
            return await asyncio.gather(*(asyncio.create_task(work()) for _ in range(50)))

        sessions = asyncio.run(main())
        assert len({id(session) for session in sessions}) == 50
        assert entries(registry) == 0


class TestExplicitScopes:
    @on("psycopg", "psycopg2", "pymysql")
    def test_across_worker_threads(self, db: Database) -> None:
        registry = scoped_session(sessionmaker(db.engine))

        async def main() -> list[Any]:
            with registry.scope():
                session = registry()
                others = [await asyncio.to_thread(registry) for _ in range(3)]
                await asyncio.to_thread(registry.add, User(name="Alice"))
                await asyncio.to_thread(registry.commit)
            assert not session.in_transaction()
            return [session, *others]

        assert len({id(session) for session in asyncio.run(main())}) == 1
        assert db.names() == ["Alice"]
        assert entries(registry) == 0

    @on_sync
    def test_nested(self, db: Database) -> None:
        registry = scoped_session(sessionmaker(db.engine))
        outside = registry()
        with registry.scope():
            outer = registry()
            with registry.scope():
                inner = registry()
            assert registry() is outer
            registry.remove()
            assert registry() is not outer
        assert registry() is outside
        assert len({id(outside), id(outer), id(inner)}) == 3
        registry.remove()

    @on_sync
    def test_closed_on_an_error(self, db: Database) -> None:
        registry = scoped_session(sessionmaker(db.engine))
        with pytest.raises(ZeroDivisionError), registry.scope():
            registry.add(User(name="Alice"))
            registry.flush()
            raise ZeroDivisionError
        assert db.names() == []

    @on_async
    def test_in_tasks(self, db: Database) -> None:
        registry = async_scoped_session(async_sessionmaker(db.engine))

        async def child() -> Any:
            return registry()

        async def main() -> None:
            async with registry.scope():
                session = registry()
                assert await asyncio.create_task(child()) is session
                session.add(User(name="Alice"))
                await session.commit()
            assert await child() is not session
            await registry.remove()

        db.run(main())
        assert db.names() == ["Alice"]


def test_nothing_is_told_at_the_interpreters_exit() -> None:
    program = (
        "from sqlalchemy import create_engine, text\n"
        "from sessionwise import scoped_session, sessionmaker\n"
        "registry = scoped_session(sessionmaker(create_engine('sqlite://')))\n"
        "registry.execute(text('SELECT 1'))\n"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_nothing_is_told_at_the_exit_under_asyncio(tmp_path: Any) -> None:
    program = (
        "import asyncio\n"
        "from sqlalchemy import text\n"
        "from sqlalchemy.ext.asyncio import create_async_engine\n"
        "from sessionwise.asyncio import async_scoped_session, async_sessionmaker\n"
        f"engine = create_async_engine('sqlite+aiosqlite:///{tmp_path}/exit.db')\n"
        "registry = async_scoped_session(async_sessionmaker(engine))\n"
        "async def main():\n"
        "    await registry.execute(text('SELECT 1'))\n"
        "    await registry.rollback()\n"
        "    await engine.dispose()\n"
        "asyncio.run(main())\n"
        "registry()\n"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""


class TestRegistry:
    """Who lets go of what, and when."""

    def test_is_collected_and_leaves_the_session_to_its_user(self) -> None:
        engine = create_engine("sqlite://")
        registry = scoped_session(sessionmaker(engine))
        collected, session = ref(registry), registry()
        session.scalars(select(1)).all()
        del registry
        gc.collect()
        assert collected() is None
        assert session.in_transaction()
        session.close()
        engine.dispose()

    def test_what_is_cleared_or_replaced_is_not_closed(self) -> None:
        engine = create_engine("sqlite://")
        registry = scoped_session(sessionmaker(engine))
        sessions = []

        def work() -> None:
            sessions.append(registry())
            registry.registry.set(registry.session_factory())
            sessions.append(registry())
            registry.registry.clear()
            assert not registry.registry.has()
            for session in sessions:
                session.begin()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert sessions[0] is not sessions[1]
        assert [session.in_transaction() for session in sessions] == [True, True]
        engine.dispose()

    def test_options_of_a_session_that_is_there(self) -> None:
        registry = scoped_session(sessionmaker())
        assert not registry(autoflush=False).autoflush
        with pytest.raises(Exception, match="already present"):
            registry(autoflush=True)
        with registry.scope(expire_on_commit=False) as session:
            assert not session.expire_on_commit
            with pytest.raises(Exception, match="already present"):
                registry(autoflush=True)
        registry.remove()

    def test_closed_session_of_a_thread_has_given_its_objects_back(self) -> None:
        engine = create_engine("sqlite://")
        registry, users = scoped_session(sessionmaker(engine)), []

        def work() -> None:
            users.append(User(name="Alice"))
            registry.add(users[0])

        before = threading.active_count()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert orm.object_session(users[0]) is None
        assert threading.active_count() == before
        engine.dispose()

    @on_sync
    def test_threads_of_a_pool_keep_theirs_until_it_shuts_down(self, db: Database) -> None:
        registry = scoped_session(sessionmaker(db.engine))

        def work(_: int) -> Any:
            registry.scalars(select(User.name)).all()
            return registry()

        with ThreadPoolExecutor(1) as executor:
            first, second = executor.map(work, range(2))
            assert first is second
            assert len(registry.registry) == 1
        assert len(registry.registry) == 0
        assert not first.in_transaction()

    @on_sync
    def test_greenlet_of_a_task_has_the_tasks_session(self, db: Database) -> None:
        registry = scoped_session(sessionmaker(db.engine))

        async def main() -> None:
            assert greenlet.greenlet(registry).switch() is registry()

        asyncio.run(main())
        assert len(registry.registry) == 0

    @on_async
    def test_where_a_session_awaits_is_its_task(self, db: Database) -> None:
        registry = async_scoped_session(async_sessionmaker(db.engine))

        async def main() -> None:
            session = registry()
            assert await session.run_sync(lambda _: registry()) is session
            await registry.remove()
            assert len(registry.registry) == 0

        db.run(main())


class TestEndOfTasks:
    @on_sync
    def test_one_connection_serves_them_one_after_the_other(self, db: Database) -> None:
        """No task waits for a connection of one that has ended."""
        engine = db.new_engine(pool_size=1, max_overflow=0, pool_timeout=0.1)
        registry = scoped_session(sessionmaker(engine))

        async def work() -> None:
            registry.scalars(select(User.name)).all()

        async def main() -> None:
            await asyncio.gather(*(work() for _ in range(100)))

        asyncio.run(main())
        assert engine.pool.checkedout() == 0
        db.dispose(engine)

    @on("sqlite3")
    def test_what_fails_at_the_end_of_one_is_not_told_to_another(self, db: Database) -> None:
        registry, told = scoped_session(sessionmaker(db.engine)), []

        def fail() -> None:
            raise ZeroDivisionError

        async def work() -> None:
            registry.on_rollback(fail)

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
            await asyncio.gather(work(), work())
            await asyncio.sleep(0)

        asyncio.run(main())
        assert [type(error) for error in told] == [CommitHookError] * 2
        assert len(registry.registry) == 0

    @on_sync
    def test_a_task_that_removes_each_time_gathers_nothing(self, db: Database) -> None:
        registry = scoped_session(sessionmaker(db.engine))

        async def work() -> None:
            sessions = []
            for _ in range(20):
                sessions.append(ref(registry()))
                registry.remove()
            gc.collect()
            assert [session() for session in sessions] == [None] * 20

        asyncio.run(work())

    @on_async
    def test_leaks_name_the_line_and_the_task(self, db: Database) -> None:
        engine = db.new_engine()
        registry = async_scoped_session(async_sessionmaker(engine))

        async def work() -> None:
            await registry.scalars(select(User.name))

        async def main() -> None:
            with pytest.warns(LeakedSessionWarning) as caught:
                await asyncio.gather(*(asyncio.create_task(work(), name=n) for n in "ab"))
                await asyncio.sleep(0)
            line = work.__code__.co_firstlineno + 1
            told = sorted(str(warning.message) for warning in caught)
            assert ["(a)" in told[0], "(b)" in told[1], len(told)] == [True, True, 2]
            assert all(f"{__file__}:{line} " in message for message in told)
            assert engine.pool.checkedout() == 0
            await engine.dispose()

        db.run(main())

    @on_async
    def test_in_an_open_savepoint(self, db: Database) -> None:
        engine = db.new_engine()
        registry = async_scoped_session(async_sessionmaker(engine))

        async def work() -> Any:
            session = registry()
            await session.begin_nested()
            session.add(User(name="Alice"))
            await session.flush()
            return session

        async def main() -> None:
            with pytest.warns(LeakedSessionWarning):
                session = await asyncio.create_task(work())
                await asyncio.sleep(0)
            assert not session.in_transaction()
            assert engine.pool.checkedout() == 0
            assert (await session.scalars(select(User.name))).all() == []
            await session.close()
            await engine.dispose()

        db.run(main())
        assert db.names() == []

    @on_async
    def test_who_waits_for_a_task_may_come_before_its_end(self, db: Database) -> None:
        """The guide says so: a task that was waited for first wakes who waits first."""
        registry = async_scoped_session(async_sessionmaker(db.engine))

        async def work() -> Any:
            return registry()

        async def main() -> None:
            await asyncio.create_task(work())
            await asyncio.sleep(0)
            assert len(registry.registry) == 0

        db.run(main())

    @on_async
    def test_cancelled(self, db: Database) -> None:
        engine = db.new_engine()
        registry = async_scoped_session(async_sessionmaker(engine))

        async def work() -> None:
            await registry.scalars(select(User.name))
            await asyncio.sleep(60)

        async def main() -> None:
            task = asyncio.create_task(work())
            while not engine.pool.checkedout():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.warns(LeakedSessionWarning):
                await asyncio.wait([task])
                await asyncio.sleep(0)
            assert len(registry.registry) == 0
            assert engine.pool.checkedout() == 0
            await engine.dispose()

        db.run(main())

    @on_async
    def test_a_transaction_that_was_joined_goes_on(self, db: Database) -> None:
        async def main() -> None:
            async with db.engine.connect() as connection:
                await connection.begin()
                registry = async_scoped_session(async_sessionmaker(connection))

                async def work() -> None:
                    registry.add(User(name="Alice"))
                    await registry.flush()

                await asyncio.create_task(work())
                await asyncio.sleep(0)
                assert len(registry.registry) == 0
                assert connection.in_transaction()
                await connection.commit()

        db.run(main())
        assert db.names() == ["Alice"]

    @on_async
    def test_sessions_that_are_not_ours(self, db: Database) -> None:
        engine = db.new_engine()
        factory: Any = plain_async_sessionmaker(engine, class_=PlainAsyncSession)
        registry = async_scoped_session(factory)

        async def work() -> None:
            session: Any = registry()
            await session.scalars(select(User.name))

        async def main() -> None:
            with pytest.warns(LeakedSessionWarning, match="at an unknown place"):
                await asyncio.create_task(work())
                await asyncio.sleep(0)
            assert engine.pool.checkedout() == 0
            await engine.dispose()

        db.run(main())

    @on("psycopg-async", "asyncpg", "aiomysql")
    def test_while_another_task_uses_the_session(self, db: Database) -> None:
        """The running call comes to its end, and gives the connection back."""
        engine = db.new_engine()
        registry = async_scoped_session(async_sessionmaker(engine))
        pause = "pg_sleep" if db.driver.server == "postgresql" else "sleep"
        running: list[asyncio.Task[Any]] = []

        async def work() -> None:
            session = registry()
            await session.scalars(select(User.name))
            statement = text(f"SELECT {pause}(0.3)")
            running.append(asyncio.create_task(session.execute(statement)))
            await asyncio.sleep(0.1)

        async def main() -> None:
            with pytest.warns(LeakedSessionWarning):
                await asyncio.create_task(work())
                await asyncio.sleep(0)
            await running[0]
            assert engine.pool.checkedout() == 0
            await engine.dispose()

        db.run(main())


class TestScopes:
    @on_sync
    def test_of_a_scope_function_too(self, db: Database) -> None:
        registry = scoped_session(sessionmaker(db.engine), lambda: "always")
        outside = registry()
        with registry.scope() as session:
            assert registry() is session is not outside
            assert len(registry.registry) == 1
        assert registry() is outside
        registry.remove()

    @on_sync
    def test_removed_for_good(self, db: Database) -> None:
        registry = scoped_session(sessionmaker(db.engine))
        with registry.scope() as session:
            session.scalars(select(User.name)).all()
            registry.remove()
            assert not session.in_transaction()
            assert not registry.registry.has()
        with registry.scope():
            registry.remove()
            registry.scalars(select(User.name)).all()  # a new one, which the end closes

    @on_sync
    def test_left_in_another_context_than_entered(self, db: Database) -> None:
        """As where a web framework runs both halves of a dependency in worker threads."""
        registry = scoped_session(sessionmaker(db.engine))
        here = contextvars.copy_context()
        block = registry.scope()
        session = here.run(block.__enter__)
        assert here.run(registry) is session
        here.run(registry.scalars, select(User.name))
        block.__exit__(None, None, None)
        assert not session.in_transaction()
        assert here.run(registry) is not session
        here.run(registry.remove)

    @on_async
    def test_task_that_outlives_it(self, db: Database) -> None:
        registry = async_scoped_session(async_sessionmaker(db.engine))

        async def background(left: asyncio.Event) -> Any:
            await left.wait()
            await registry.scalars(select(User.name))
            await registry.commit()
            return registry()

        async def main() -> None:
            left = asyncio.Event()
            async with registry.scope() as session:
                task = asyncio.create_task(background(left))
                await asyncio.sleep(0)
            left.set()
            assert await task is not session
            await asyncio.sleep(0)
            assert len(registry.registry) == 0

        db.run(main())

    @on_async
    @pytest.mark.parametrize("ending", ["error", "cancelled"])
    def test_closed_however_it_ends(self, db: Database, ending: str) -> None:
        registry = async_scoped_session(async_sessionmaker(db.engine))

        async def work(started: asyncio.Event) -> None:
            async with registry.scope() as session:
                session.add(User(name="Alice"))
                await session.flush()
                started.set()
                if ending == "error":
                    raise ZeroDivisionError
                await asyncio.sleep(60)

        async def main() -> None:
            started = asyncio.Event()
            task = asyncio.create_task(work(started))
            await started.wait()
            if ending == "cancelled":
                task.cancel()
            with pytest.raises((ZeroDivisionError, asyncio.CancelledError)):
                await task

        db.run(main())
        assert db.names() == []

    @on("psycopg", "psycopg2", "pymysql")
    def test_threads_that_remove_get_one_new_session(self, db: Database) -> None:
        registry, made = scoped_session(sessionmaker(db.engine)), set()

        async def main() -> None:
            with registry.scope():
                registry.remove()
                sessions = (asyncio.to_thread(registry) for _ in range(8))
                made.update(await asyncio.gather(*sessions))

        asyncio.run(main())
        assert len(made) == 1

"""What only asyncio has: the place in the awaiting coroutine, cursors that are awaited, misuse."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import insert, orm, select
from sqlalchemy.ext.asyncio import AsyncSession as PlainAsyncSession

from sessionwise import OptionError, OuterRollbackWarning, Session
from sessionwise.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from tests.backends import Database, on
from tests.model import User

on_async = on("aiosqlite", "psycopg-async", "asyncpg", "aiomysql")


@on_async
def test_warning_names_the_lines_of_the_coroutine(db: Database) -> None:
    async def scenario() -> None:
        async with AsyncSession(db.engine) as session:
            session.add(User(name="Alice"))
            await session.flush()
            try:
                async with session.begin_nested():
                    raise ZeroDivisionError
            except ZeroDivisionError:
                await session.rollback()

    first_line = scenario.__code__.co_firstlineno
    block, call = (rf"at \S+test_asyncio\.py:{first_line + offset}" for offset in (5, 8))
    places = f"{call} .* {block}:"
    with pytest.warns(OuterRollbackWarning, match=places) as caught:
        db.run(scenario())
    assert caught[0].filename == __file__
    assert caught[0].lineno == first_line + 8


@on_async
def test_contained_in_a_task(db: Database) -> None:
    async def batch() -> None:
        maker = async_sessionmaker(db.engine, failed_block="contained")
        async with maker() as session:
            for name in ("Alice", "Alice", "Bob"):
                try:
                    async with session.begin_nested():
                        session.add(User(name=name))
                        await session.commit()
                except Exception:  # noqa: BLE001 -- the guide's own clause
                    await session.rollback()
            await session.commit()

    async def main() -> None:
        await asyncio.create_task(batch())

    db.run(main())
    assert db.names() == ["Alice", "Bob"]


@on_async
def test_transaction_is_the_same_object(db: Database) -> None:
    async def scenario() -> None:
        async with AsyncSession(db.engine) as session, session.begin_nested() as savepoint:
            assert session.get_nested_transaction() is savepoint
            await session.commit()
            assert session.get_nested_transaction() is savepoint
            await savepoint.rollback()
            assert session.get_nested_transaction() is savepoint

    db.run(scenario())


@on_async
def test_cancelled_in_a_block(db: Database) -> None:
    """A task that is cancelled undoes its unit and gives the connection back."""

    async def unit(started: asyncio.Event) -> None:
        async with AsyncSession(db.engine) as session, session.begin(), session.begin_nested():
            await session.execute(insert(User).values(name="Alice"))
            await session.commit()
            started.set()
            await asyncio.sleep(60)

    async def main() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(unit(started))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    db.run(main())
    assert db.names() == []


@on_async
def test_cursor_is_awaited(db: Database) -> None:
    async def scenario() -> list[Any]:
        async with AsyncSession(db.engine) as session:
            session.add_all([User(name="Alice"), User(name="Bob")])
            async with session.cursor() as cursor:
                await cursor.execute("SELECT name FROM users ORDER BY name")
                assert cursor.description[0][0] == "name"
                return [name async for (name,) in cursor]

    assert db.run(scenario()) == ["Alice", "Bob"]


@on_async
def test_scoped_session(db: Database) -> None:
    async def scenario() -> None:
        registry = async_scoped_session(async_sessionmaker(db.engine), asyncio.current_task)
        registry.add(User(name="Alice"))
        async with registry.begin_nested():
            registry.add(User(name="Bob"))
            await registry.rollback()
        async with registry.cursor() as cursor:
            await cursor.execute("SELECT count(*) FROM users")
            assert tuple(await cursor.fetchone()) == (1,)
        await registry.commit()
        await registry.remove()

    db.run(scenario())
    assert db.names() == ["Alice"]


@on_async
def test_sync_session_class(db: Database) -> None:
    class Ours(Session):
        pass

    def make_ours(**options: Any) -> Session:
        return Ours(**options)

    async def scenario() -> None:
        async with AsyncSession(db.engine, sync_session_class=Ours) as session:
            assert type(session.sync_session) is Ours
        async with AsyncSession(db.engine, sync_session_class=orm.Session) as session:
            session.add(User(name="Alice"))
            async with session.begin_nested():
                session.add(User(name="Bob"))
            await session.rollback()  # plain SQLAlchemy's, whole
            assert (await session.scalars(select(User))).all() == []
        async with AsyncSession(db.engine, sync_session_class=make_ours) as session:
            assert type(session.sync_session) is Ours

    db.run(scenario())


def test_our_option_with_a_class_that_is_not_ours() -> None:
    class Foreign(PlainAsyncSession):
        pass

    with pytest.raises(OptionError, match=r"Foreign does not take failed_block"):
        async_sessionmaker(class_=Foreign, failed_block="contained")
    with pytest.raises(OptionError, match=r"Foreign does not take failed_block"):
        async_sessionmaker(class_=Foreign).configure(failed_block="contained")
    with pytest.raises(OptionError, match=r"orm\.session\.Session does not take failed_block"):
        AsyncSession(sync_session_class=orm.Session, failed_block="contained")
    assert async_sessionmaker(class_=Foreign).class_ is Foreign

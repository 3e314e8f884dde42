"""Checked by mypy --strict and pyright, never run: the types of the async API."""

from __future__ import annotations

from typing import Any, assert_type

from sqlalchemy import select
from sqlalchemy.engine import ScalarResult
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSessionTransaction
from sqlalchemy.ext.asyncio import AsyncSession as PlainAsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sessionwise import Outcome, Retry, Session
from sessionwise.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sessionwise.audit import Audit, Change
from sessionwise.bulk import BulkResult, CopyResult, Rejected, read
from sessionwise.database import AsyncDatabase
from sessionwise.lifting import AsyncCursor
from sessionwise.report import SessionReport


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)


class Ours(Session):
    pass


class OursAsync(AsyncSession):
    sync_session_class = Ours


def session_options(engine: AsyncEngine, connection: AsyncConnection) -> None:
    AsyncSession()
    AsyncSession(engine, expire_on_commit=False, failed_block="contained", batch_loads=True)
    AsyncSession(connection, sync_session_class=Ours)
    AsyncSession(engine, failed_block="never")  # type: ignore[arg-type]  # pyright: ignore
    AsyncSession(engine, failed_blocks="unit")  # type: ignore[call-arg]  # pyright: ignore


async def is_a_session(session: AsyncSession) -> None:
    plain: PlainAsyncSession = session
    assert_type(await plain.get(User, 1), User | None)


async def verbs(session: AsyncSession) -> None:
    assert_type(await session.scalars(select(User)), ScalarResult[User])
    async with session.begin_nested() as savepoint:
        assert_type(savepoint, AsyncSessionTransaction)
        await session.commit()
    async with session.cursor() as cursor:
        assert_type(cursor, AsyncCursor)
        await cursor.execute("SELECT 1")
    async with session as same:
        assert_type(same, AsyncSession)
    assert_type(session.outcome, Outcome | None)
    await session.advisory_lock("key", timeout=1)

    @session.on_commit
    async def told() -> None: ...

    assert_type(await told(), None)


async def many(session: AsyncSession, user: User) -> None:
    assert_type(await session.get_many(User, [1, 2]), list[User | None])
    assert_type(await session.get_many(User, [1, 2], missing="skip"), list[User])
    assert_type(await session.refresh_many([user], ["id"], missing="expunge"), list[User])
    assert_type(await session.merge(user, conflicts="raise"), User)
    assert_type(await session.merge_many([user], conflicts="mine"), list[User])
    assert_type(await session.detach(user, "orders"), User)
    assert_type(await session.detach([user]), list[User])
    assert_type(session.report(sizes=True), SessionReport)
    async for _one in session.stream(select(User), chunk_size=100):
        pass
    assert_type(await session.bulk_insert(User, read("users.csv")), BulkResult)
    result = await session.bulk_upsert(User, [], on_error="reject", max_errors=10)
    assert_type(result.rejected, list[Rejected])
    assert_type(await session.copy_out(select(User), "users.csv"), CopyResult)
    await session.bulk_upsert(User, [], duplicate="last")  # type: ignore[call-arg]  # pyright: ignore
    await session.merge(user, conflicts="ours")  # type: ignore[arg-type]  # pyright: ignore


async def makers(engine: AsyncEngine) -> None:
    maker = async_sessionmaker(engine, failed_block="contained", autoflush=False)
    assert_type(maker, async_sessionmaker[AsyncSession])
    async with maker.begin() as session:
        assert_type(session, AsyncSession)
    maker.configure(failed_block="unit")
    ours = async_sessionmaker(engine, class_=OursAsync, failed_block="contained")
    assert_type(ours(), OursAsync)
    async_sessionmaker(engine, failed_block="never")  # type: ignore[call-overload]  # pyright: ignore
    assert_type(async_sessionmaker(engine, autoflush="related")(), AsyncSession)
    async_sessionmaker(engine, autoflush="always")  # type: ignore[call-overload]  # pyright: ignore


async def databases(db: AsyncDatabase) -> None:
    async with db.transaction("new", read_only=True) as session:
        assert_type(session, AsyncSession)

    @db.transactional(retry=Retry(attempts=3))
    async def count(session: AsyncSession, name: str) -> int:
        return len(name)

    assert_type(await count("Alice"), int)
    await count(1)  # type: ignore[arg-type]  # pyright: ignore


async def audits(engine: AsyncEngine, plain: PlainAsyncSession, user: User) -> None:
    audit = Audit(Base.metadata)
    async with AsyncSession(engine, audit=audit) as session:
        assert_type(await audit.history(session, user), list[Change])
        async for change in audit.changes(session, since=None):
            assert_type(change.changed, dict[str, tuple[Any, Any]])
    assert_type(await audit.history(plain, User, 1), list[Change])


async def scopes(engine: AsyncEngine, scope: int) -> None:
    registry = async_scoped_session(async_sessionmaker(engine), lambda: scope)
    assert_type(registry, async_scoped_session[AsyncSession])
    async with registry.cursor() as cursor:
        await cursor.execute("SELECT 1")

"""The sessions of asyncio: the same verbs as in ``session``, lifted; no second implementation."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from sqlalchemy.ext import asyncio as sa_asyncio

from sessionwise import batch, get, options, stream
from sessionwise.lifting import AsyncCursor, AsyncObjects, lift, lift_block
from sessionwise.scope import ScopeRegistry, Verb, current_owner
from sessionwise.session import Session
from sessionwise.stream import CHUNK_SIZE as STREAMED
from sessionwise.transaction import failed_block

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from typing import Unpack

    from sqlalchemy import Engine, orm
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from sqlalchemy.orm import QueryableAttribute
    from sqlalchemy.orm.interfaces import ORMOption

    from sessionwise.autoflush import AutoflushMode
    from sessionwise.get import Missing
    from sessionwise.merge import Conflicts
    from sessionwise.merge import Missing as MissingOnMerge
    from sessionwise.refresh import Missing as MissingOnRefresh
    from sessionwise.report import SessionReport
    from sessionwise.session import HookT
    from sessionwise.transaction.outcome import Outcome

__all__ = ["AsyncSession", "async_scoped_session", "async_sessionmaker"]

_AS = TypeVar("_AS", bound=sa_asyncio.AsyncSession)
_T = TypeVar("_T")
_O = TypeVar("_O", bound=object)
_OurAS = TypeVar("_OurAS", bound="AsyncSession")


class AsyncSession(sa_asyncio.AsyncSession):
    """SQLAlchemy's ``AsyncSession`` over our :class:`~sessionwise.Session`.

    :param bind: the async engine or connection, as in SQLAlchemy.
    :param options: the options of our ``Session``, and ``sync_session_class``.
    :raises OptionError: where an option of ours has a value it does not take, or meets a
      ``sync_session_class`` that is not ours.
    """

    sync_session_class: type[orm.Session] = Session

    def __init__(
        self,
        bind: AsyncEngine | AsyncConnection | None = None,
        **kw: Unpack[options.AsyncSessionOptions],
    ) -> None:
        sync_class = kw.get("sync_session_class") or self.sync_session_class
        if isinstance(sync_class, type):  # any callable that makes a session is allowed
            options.refuse_for_class(sync_class, Session, kw)
        super().__init__(bind, **kw)

    # 0 unit of work

    @property
    def outcome(self) -> Outcome | None:
        """What has become of the current or last unit of work; None before the first."""
        return self._ours.outcome

    @property
    def outcomes(self) -> Mapping[Engine, Outcome]:
        """The same for each of its databases, by the sync engine."""
        return self._ours.outcomes

    def on_commit(self, hook: HookT, *, robust: bool = False) -> HookT:
        """Have a function, async or not, called once the root transaction has committed."""
        return self._ours.on_commit(hook, robust=robust)

    def on_rollback(self, hook: HookT, *, robust: bool = False) -> HookT:
        """Have a function, async or not, called once the root transaction has rolled back."""
        return self._ours.on_rollback(hook, robust=robust)

    @property
    def _ours(self) -> Session:
        """The sync session, as a session of ours."""
        return cast("Session", self.sync_session)

    # 3 bulk

    bulk_insert = lift(Session.bulk_insert)
    bulk_upsert = lift(Session.bulk_upsert)
    bulk_update = lift(Session.bulk_update)
    copy_in = lift(Session.copy_in)
    copy_out = lift(Session.copy_out)

    # 9 autoflush

    @property
    def autoflush_mode(self) -> AutoflushMode:
        """What a query flushes: everything (True), nothing (False), or ``"related"``."""
        return self._ours.autoflush_mode

    # 4 merge

    async def merge(
        self,
        instance: _O,
        *,
        load: bool = True,
        options: Sequence[ORMOption] | None = None,
        conflicts: Conflicts = "overwrite",
    ) -> _O:
        """Merge an object into the session, as in SQLAlchemy; see ``Session`` for the rest."""
        if conflicts == "overwrite":
            return await super().merge(instance, load=load, options=options)
        return await self.run_sync(
            lambda _: self._ours.merge(instance, load=load, options=options, conflicts=conflicts)
        )

    async def merge_many(
        self,
        instances: Iterable[_O],
        *,
        conflicts: Conflicts = "overwrite",
        missing: MissingOnMerge = "insert",
        options: Sequence[ORMOption] | None = None,
    ) -> list[_O]:
        """Merge many objects, for a SELECT for 500 of a class; see ``Session``."""
        return await self.run_sync(
            lambda _: self._ours.merge_many(
                instances, conflicts=conflicts, missing=missing, options=options
            )
        )

    # 5 detach

    @overload
    async def detach(
        self, instance: Sequence[_T], *paths: str | QueryableAttribute[Any]
    ) -> list[_T]: ...

    @overload
    async def detach(self, instance: _T, *paths: str | QueryableAttribute[Any]) -> _T: ...

    async def detach(self, instance: Any, *paths: str | QueryableAttribute[Any]) -> Any:
        """Load what is needed of an object, or of many, and detach it; see ``Session``."""
        return await self.run_sync(lambda _: self._ours.detach(instance, *paths))

    # 6 refresh

    async def refresh_many(
        self,
        instances: Iterable[_T],
        attribute_names: Iterable[str] | None = None,
        *,
        with_for_update: bool | Mapping[str, Any] | None = None,
        missing: MissingOnRefresh = "raise",
    ) -> list[_T]:
        """Read the rows of many objects anew, by one SELECT for 500; see ``Session``."""
        return await self.run_sync(
            lambda _: self._ours.refresh_many(
                instances, attribute_names, with_for_update=with_for_update, missing=missing
            )
        )

    # 8 get

    @overload
    async def get_many(
        self,
        entity: type[_T],
        idents: Iterable[Any],
        *,
        missing: Literal["none"] = ...,
        **how: Any,
    ) -> list[_T | None]: ...

    @overload
    async def get_many(
        self,
        entity: type[_T],
        idents: Iterable[Any],
        *,
        missing: Literal["skip", "raise"],
        **how: Any,
    ) -> list[_T]: ...

    async def get_many(
        self, entity: type[_T], idents: Iterable[Any], *, missing: Missing = "none", **how: Any
    ) -> list[Any]:
        """Return the objects with some primary keys: one SELECT for 500; see ``Session``."""
        return await self.run_sync(
            lambda _: get.get_many(self.sync_session, entity, idents, missing=missing, **how)
        )

    # 10 identity map

    def report(self, *, sizes: bool = False) -> SessionReport:
        """Count what the session holds and what it has done; see ``Session``."""
        return self._ours.report(sizes=sizes)

    # What it returns is awaited as what SQLAlchemy's returns, and gives objects besides.
    def stream(  # type: ignore[override]
        self, statement: Any, *args: Any, chunk_size: int = STREAMED, **kw: Any
    ) -> AsyncObjects[Any]:
        """Give the objects of a SELECT one by one, in constant memory, by ``async for``.

        Awaited, it is SQLAlchemy's ``stream``, of rows; the other parameters are for that.

        :param statement: for ``async for``, a SELECT of one mapped class.
        :param chunk_size: how many objects are in memory at a time.
        """
        return AsyncObjects(
            self,
            lambda: stream.chunks(self.sync_session, statement, chunk_size),
            lambda: super(AsyncSession, self).stream(statement, *args, **kw),
        )

    # 11 savepoint

    async def rollback(self) -> None:
        """Roll back the transaction; in a savepoint block, the block's savepoint."""
        with failed_block.handling(self.sync_session, sys.exc_info()[1]):
            await super().rollback()

    async def each(
        self,
        items: Iterable[_T],
        apply: Callable[[_T], object] | None = None,
        *,
        chunk_size: int = batch.CHUNK_SIZE,
    ) -> batch.BatchResult[_T]:
        """Do the same to each item, as if it had a savepoint of its own; see ``Session``.

        :param apply: a function that is not async; it uses the sync session.
        """
        return await self.run_sync(lambda _: self._ours.each(items, apply, chunk_size=chunk_size))

    # 12 connection

    async def advisory_lock(self, key: int | str, *, timeout: float | None = None) -> None:
        """Hold a lock of the database's until the unit of work ends; see ``Session``."""
        await self.run_sync(lambda _: self._ours.advisory_lock(key, timeout=timeout))

    @asynccontextmanager
    async def cursor(self, **bind_arguments: Any) -> AsyncIterator[AsyncCursor]:
        """Flush, then give the driver's own cursor, its methods awaited, for a block.

        :param bind_arguments: as in ``get_bind``, for a session with several engines.
        """
        async with lift_block(self, self._ours.cursor(**bind_arguments)) as adapted:
            yield AsyncCursor(self, adapted)


class async_sessionmaker(sa_asyncio.async_sessionmaker[_AS]):  # noqa: N801 -- SQLAlchemy's name
    """SQLAlchemy's ``async_sessionmaker`` that makes our sessions and takes our options.

    :raises OptionError: where an option of ours meets a ``class_`` that is not ours.
    """

    @overload
    def __init__(
        self,
        bind: AsyncEngine | AsyncConnection | None = None,
        *,
        class_: type[_AS],
        **options: Any,
    ) -> None: ...

    @overload
    def __init__(
        self: async_sessionmaker[AsyncSession],
        bind: AsyncEngine | AsyncConnection | None = None,
        **options: Unpack[options.AsyncSessionOptions],
    ) -> None: ...

    def __init__(
        self,
        bind: AsyncEngine | AsyncConnection | None = None,
        *,
        class_: type[Any] = AsyncSession,
        **kw: Any,
    ) -> None:
        options.refuse_for_class(class_, AsyncSession, kw)
        super().__init__(bind, class_=class_, **kw)

    def configure(self, **new_kw: Any) -> None:
        """Change the options of the sessions to come, as in SQLAlchemy."""
        options.refuse_for_class(self.class_, AsyncSession, new_kw)
        super().configure(**new_kw)


class async_scoped_session(sa_asyncio.async_scoped_session[_OurAS]):  # noqa: N801 -- SQLAlchemy's
    """SQLAlchemy's ``async_scoped_session`` that holds no session longer than its task lives.

    It also has the verbs that our sessions have more; each is the verb of the scope's session.

    :param session_factory: makes a session, usually an ``async_sessionmaker``.
    :param scopefunc: returns the key of the current scope, as in SQLAlchemy: the session then
      stays until ``remove()``. Without it there is one session per task; one that still holds a
      connection when the task ends has it terminated, with a ``LeakedSessionWarning``.
    """

    registry: ScopeRegistry[_OurAS]

    def __init__(
        self,
        session_factory: sa_asyncio.async_sessionmaker[_OurAS],
        scopefunc: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(session_factory, scopefunc or current_owner)
        self.registry = ScopeRegistry(session_factory, scopefunc)

    @asynccontextmanager
    async def scope(self, **options: Any) -> AsyncIterator[_OurAS]:
        """Use one session for everything in a block, child tasks too, and close it at the end.

        :param options: of the session, as the factory takes them.
        """
        session = self.session_factory(**options)
        with self.registry.block(session) as block:
            try:
                yield session
            finally:
                if block.has():
                    # As SQLAlchemy's own block does: a task that is cancelled gives back, too.
                    closing = block.get(self.session_factory).close()
                    await asyncio.shield(asyncio.create_task(closing))

    @property
    def outcome(self) -> Outcome | None:
        """What has become of the current or last unit of work."""
        return self.registry().outcome

    @property
    def outcomes(self) -> Mapping[Engine, Outcome]:
        """The same for each of its databases, by the sync engine."""
        return self.registry().outcomes

    @property
    def autoflush_mode(self) -> AutoflushMode:
        """What a query flushes: everything (True), nothing (False), or ``"related"``."""
        return self.registry().autoflush_mode

    on_commit = Verb(AsyncSession.on_commit)
    on_rollback = Verb(AsyncSession.on_rollback)
    bulk_insert = Verb(AsyncSession.bulk_insert)
    bulk_upsert = Verb(AsyncSession.bulk_upsert)
    bulk_update = Verb(AsyncSession.bulk_update)
    copy_in = Verb(AsyncSession.copy_in)
    copy_out = Verb(AsyncSession.copy_out)
    merge = Verb(AsyncSession.merge)
    merge_many = Verb(AsyncSession.merge_many)
    refresh_many = Verb(AsyncSession.refresh_many)
    report = Verb(AsyncSession.report)
    each = Verb(AsyncSession.each)
    advisory_lock = Verb(AsyncSession.advisory_lock)
    stream: Any = Verb(cast("Any", AsyncSession.stream))

    # A descriptor cannot carry what these are typed by.

    async def detach(self, instance: Any, *paths: Any) -> Any:
        """Load what is needed of an object, or of many, and detach it; see ``Session``."""
        return await self.registry().detach(instance, *paths)

    async def get_many(self, entity: type[_T], idents: Iterable[Any], **how: Any) -> list[Any]:
        """Return the objects with some primary keys; see ``Session``."""
        found: list[Any] = await self.registry().get_many(entity, idents, **how)
        return found

    def cursor(self, **bind_arguments: Any) -> AbstractAsyncContextManager[AsyncCursor]:
        """Give the driver's cursor for a block."""
        return self.registry().cursor(**bind_arguments)

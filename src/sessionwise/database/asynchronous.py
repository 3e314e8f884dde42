"""``AsyncDatabase``: the same for asyncio."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import cached_property, wraps
from itertools import cycle
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import create_async_engine

from sessionwise.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sessionwise.database import health
from sessionwise.database.units import Nested, Terms, Units
from sessionwise.lifting import lift_block
from sessionwise.transaction import receipt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sqlalchemy import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

    from sessionwise.database.health import Health
    from sessionwise.transaction.retry import Retry

__all__ = ["AsyncDatabase"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class AsyncDatabase(Units[AsyncSession]):
    """The same for asyncio; its sessions do not expire their objects on commit.

    The parameters are those of :class:`Database`.
    """

    def __init__(self, url: str | URL, *, expire_on_commit: bool = False, **options: Any) -> None:
        super().__init__(url, expire_on_commit=expire_on_commit, **options)

    @cached_property
    def engine(self) -> AsyncEngine:
        """The engine of the writer."""
        engine: AsyncEngine = self._create(create_async_engine, self.url)
        return engine

    @cached_property
    def scoped(self) -> async_scoped_session[AsyncSession]:
        """One session per task."""
        return async_scoped_session(self._maker)

    def session(self, **options: Any) -> AsyncSession:
        """Make a session, for an ``async with`` block: it closes, and never commits by itself."""
        return self._maker(**options)

    @asynccontextmanager
    async def transaction(
        self,
        nested: Nested = "join",
        *,
        isolation: str | None = None,
        read_only: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[AsyncSession]:
        """Give a session whose unit of work is committed at the end; see ``Database``."""
        session, block = self._open(nested, Terms(isolation, read_only, timeout))
        async with lift_block(session, block):
            yield session

    async def run(
        self,
        fn: Callable[Concatenate[AsyncSession, ...], Awaitable[_T]],
        *args: Any,
        retry: Retry | None = None,
        **options: Any,
    ) -> _T:
        """Run an async function as a unit of work; see ``Database``."""
        started, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            try:
                async with self.transaction(**options) as session:
                    result = await fn(session, *args)
            except Exception as error:
                wait = self._wait(retry, error, attempt, started, self.engine.dialect)
                if wait is None:
                    raise
            else:
                return result
            await asyncio.sleep(wait)

    def transactional(
        self, **options: Any
    ) -> Callable[
        [Callable[Concatenate[AsyncSession, _P], Awaitable[_T]]], Callable[_P, Awaitable[_T]]
    ]:
        """Decorate an async function that takes a session first; see ``Database``."""

        def decorate(
            fn: Callable[Concatenate[AsyncSession, _P], Awaitable[_T]],
        ) -> Callable[_P, Awaitable[_T]]:
            @wraps(fn)
            async def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
                def unit(session: AsyncSession) -> Awaitable[_T]:
                    return fn(session, *args, **kwargs)

                return await self.run(unit, **options)

            return call

        return decorate

    async def health(self) -> Health:
        """Ask the database whether it can be written; see ``Database``."""
        async with self.engine.connect() as connection:
            return await connection.run_sync(health.ask)

    async def create_receipt_table(self) -> None:
        """Create the table that ``receipts="row"`` writes to; see ``Database``."""
        async with self.engine.begin() as connection:
            await connection.run_sync(receipt.TABLE.create, checkfirst=True)

    async def dispose(self, timeout: float = 10) -> None:
        """Wait for the connections in use to come back, then close them all; see ``Database``."""
        until = time.monotonic() + timeout
        for engine in self._made:
            while health.checked_out(engine.sync_engine) and time.monotonic() < until:
                await asyncio.sleep(health.PAUSE)
            await engine.dispose()

    @cached_property
    def _maker(self) -> async_sessionmaker[AsyncSession]:
        return async_sessionmaker(self.engine, **self._session_options)

    @cached_property
    def _reading(self) -> cycle[AsyncEngine]:
        return cycle([self._create(create_async_engine, url) for url in self._readers])

    def _make(self, *, read_only: bool) -> AsyncSession:
        if read_only and self._readers:
            return self._maker(bind=next(self._reading))
        return self._maker()

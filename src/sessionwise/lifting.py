"""From sync to async: the one place where a verb of ``Session`` becomes one that is awaited."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Generator,
        Iterator,
    )
    from contextlib import AbstractContextManager

    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["AsyncCursor", "AsyncObjects", "lift", "lift_block"]

_T = TypeVar("_T")
_R = TypeVar("_R")
_P = ParamSpec("_P")


def lift(
    verb: Callable[Concatenate[Any, _P], _R],
) -> Callable[Concatenate[AsyncSession, _P], Coroutine[Any, Any, _R]]:
    """Make the async twin of a verb of ``Session``: the same parameters, and it is awaited."""

    @wraps(verb)
    async def lifted(session: AsyncSession, /, *args: _P.args, **how: _P.kwargs) -> _R:
        return await session.run_sync(lambda sync: verb(sync, *args, **how))

    return lifted


@asynccontextmanager
async def lift_block(
    session: AsyncSession, block: AbstractContextManager[_T]
) -> AsyncIterator[_T]:
    """Enter and leave the block of a sync verb without holding up the event loop."""
    entered = await _run(session, block.__enter__)
    try:
        yield entered
    except BaseException as error:
        if not await _run(session, block.__exit__, type(error), error, error.__traceback__):
            raise
    else:
        await _run(session, block.__exit__, None, None, None)


class AsyncObjects(Generic[_T]):
    """Objects that come in chunks, for ``async for``; awaited, it is something else."""

    def __init__(
        self,
        session: AsyncSession,
        chunks: Callable[[], Iterator[list[_T]]],
        awaited: Callable[[], Coroutine[Any, Any, Any]],
    ) -> None:
        self._session = session
        self._chunks = chunks
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._awaited().__await__()

    async def __aiter__(self) -> AsyncIterator[_T]:
        chunks = await _run(self._session, self._chunks)
        while (chunk := await _run(self._session, next, chunks, None)) is not None:
            for one in chunk:
                yield one


class AsyncCursor:
    """A driver's cursor (PEP 249) whose methods are awaited; its attributes are read as they are.

    What only the driver's own async cursor has, such as psycopg's ``copy``, is passed through.
    """

    def __init__(self, session: AsyncSession, adapted: Any) -> None:
        self._session = session
        self._adapted = adapted

    def __getattr__(self, name: str) -> Any:
        try:
            attribute = getattr(self._adapted, name)
        except AttributeError:
            return getattr(self._adapted._cursor, name)
        if not callable(attribute):
            return attribute

        def lifted(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            return _run(self._session, attribute, *args, **kwargs)

        return lifted

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (row := await self.fetchone()) is not None:
            yield row


async def _run(
    session: AsyncSession, function: Callable[..., _T], *args: Any, **kwargs: Any
) -> _T:
    return await session.run_sync(lambda _: function(*args, **kwargs))

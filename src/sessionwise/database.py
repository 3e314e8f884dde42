"""``Database`` and ``AsyncDatabase``: engines, sessions, units of work that end by themselves."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, wraps
from itertools import cycle
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, cast

from sqlalchemy import create_engine, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from sessionwise import dialects
from sessionwise.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sessionwise.dialects.traits import Doom
from sessionwise.errors import OptionError, TransactionDoomedError, TransactionJoinError
from sessionwise.lifting import lift_block
from sessionwise.options import NAMES
from sessionwise.scope import scoped_session
from sessionwise.session import Session, sessionmaker
from sessionwise.transaction import activity, internals, receipt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Self

    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.engine import Dialect
    from sqlalchemy.ext.asyncio import AsyncEngine

    from sessionwise.transaction.receipt import ReceiptMode
    from sessionwise.transaction.retry import Retry

__all__ = ["AsyncDatabase", "Database", "Health", "Nested"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_SessionT = TypeVar("_SessionT", Session, AsyncSession)

Nested = Literal["join", "savepoint", "new"]
"""What ``transaction()`` does inside another one: be part of it, be a savepoint of it, or be a
unit of its own on another connection."""

_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Health:
    """What a database says when it is asked how it is."""

    writable: bool
    """Whether it can be written: a standby, or a file that is read-only, cannot."""
    checked_out: int
    """Connections of the pool that are in use."""


@dataclass(frozen=True, slots=True)
class _Terms:
    """What a unit is asked to be."""

    isolation: str | None
    read_only: bool
    timeout: float | None


@dataclass(slots=True)
class _Running(Generic[_SessionT]):
    """A unit that runs, for those that join it."""

    session: _SessionT
    owner: object
    """The task or thread that began it: a child task inherits the context, not the unit."""
    terms: _Terms
    ends_at: float
    given_up: BaseException | None = None
    """The exception that left a block which had joined."""


class _Units(Generic[_SessionT]):
    """What the sync and the async database share: all but who waits, and how."""

    def __init__(
        self,
        url: str | URL,
        *,
        readers: Sequence[str | URL] = (),
        receipts: ReceiptMode = True,
        **options: Any,
    ) -> None:
        self.url = make_url(url)
        self._readers = [make_url(reader) for reader in readers]
        self._session_options = {name: options.pop(name) for name in NAMES & options.keys()}
        self._session_options["receipts"] = receipts
        self._session_options.setdefault("batch_loads", True)
        self._engine_options = options
        self._made: list[Any] = []
        self._running: ContextVar[_Running[_SessionT] | None] = ContextVar("running", default=None)

    @classmethod
    def from_env(cls, prefix: str = "DATABASE_", **options: Any) -> Self:
        """Make a database from ``DATABASE_URL`` and, where it is set, ``DATABASE_READERS``.

        :raises OptionError: where the environment has no URL.
        """
        name = f"{prefix}URL"
        if name not in os.environ:
            raise OptionError(f"the environment has no {name}: set it to the database's URL")
        return cls(
            os.environ[name], readers=os.environ.get(f"{prefix}READERS", "").split(), **options
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url.render_as_string()!r})"

    def _make(self, *, read_only: bool) -> _SessionT:
        raise NotImplementedError

    def _create(self, create: Callable[..., Any], url: URL) -> Any:
        traits = dialects.of(url.get_dialect()())
        engine = create(url, **traits.engine_options(url) | self._engine_options)
        traits.configure(getattr(engine, "sync_engine", engine))
        self._made.append(engine)
        return engine

    def _joinable(self, nested: Nested = "join") -> _Running[_SessionT] | None:
        running = self._running.get()
        if nested == "new" or running is None or running.owner is not _owner():
            return None
        return running

    def _open(
        self, nested: Nested, terms: _Terms
    ) -> tuple[_SessionT, AbstractContextManager[None]]:
        """Return a session, and the block in which it has what was asked for."""
        running = self._joinable(nested)
        if running is None:
            session = self._make(read_only=terms.read_only)
            return session, self._unit(session, terms)
        _check_terms(running, terms)
        if nested == "savepoint":
            return running.session, _savepoint(_sync(running.session))
        return running.session, _part(running)

    @contextmanager
    def _unit(self, session: _SessionT, terms: _Terms) -> Iterator[None]:
        """Begin a unit, end it, and close its session."""
        seconds = float("inf") if terms.timeout is None else terms.timeout
        running = _Running(session, _owner(), terms, time.monotonic() + seconds)
        before = self._running.get()
        with _sync(session) as sync_session:
            self._running.set(running)
            try:
                with sync_session.begin():
                    _begin(sync_session, terms)
                    yield
                    if running.given_up is not None:
                        doomed = TransactionDoomedError.because_of(running.given_up)
                        raise doomed from running.given_up
            finally:
                self._running.set(before)

    def _wait(
        self, retry: Retry | None, error: Exception, attempt: int, started: float, dialect: Dialect
    ) -> float | None:
        """Return how long to wait before the next run of a unit; None: there is none."""
        if retry is None or self._joinable() is not None:
            return None  # inside another unit only the outer one can be run again
        return retry.delay(error, attempt, time.monotonic() - started, dialect)


class Database(_Units[Session]):
    """A database: an engine made when it is first needed, sessions, and units of work.

    :param url: SQLAlchemy's URL of the writer.
    :param readers: URLs of replicas; units that are ``read_only`` go to them in turn.
    :param receipts: as in ``Session``.
    :param options: further options of ``create_engine`` and of ``Session``; here ``batch_loads``
      is on by default.
    """

    @cached_property
    def engine(self) -> Engine:
        """The engine of the writer."""
        engine: Engine = self._create(create_engine, self.url)
        return engine

    @cached_property
    def scoped(self) -> scoped_session[Session]:
        """One session per task, greenlet or thread."""
        return scoped_session(self._maker)

    def session(self, **options: Any) -> Session:
        """Make a session, for a ``with`` block: it closes, and never commits by itself."""
        return self._maker(**options)

    @contextmanager
    def transaction(
        self,
        nested: Nested = "join",
        *,
        isolation: str | None = None,
        read_only: bool = False,
        timeout: float | None = None,
    ) -> Iterator[Session]:
        """Give a session whose unit of work is committed at the end, or rolled back.

        :param nested: what to do inside another ``transaction()`` of this task or thread.
        :param isolation: the isolation level, in SQLAlchemy's words.
        :param read_only: let the database refuse to write.
        :param timeout: seconds for the whole unit.
        :raises TransactionJoinError: where the unit to join is of another kind.
        """
        session, block = self._open(nested, _Terms(isolation, read_only, timeout))
        with block:
            yield session

    def run(
        self,
        fn: Callable[Concatenate[Session, ...], _T],
        *args: Any,
        retry: Retry | None = None,
        **options: Any,
    ) -> _T:
        """Run a function as a unit of work; it gets the session first, then ``args``.

        :param retry: run it again, whole and in a fresh session, where that may help.
        :param options: those of :meth:`transaction`.
        """
        started, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            try:
                with self.transaction(**options) as session:
                    result = fn(session, *args)
            except Exception as error:
                wait = self._wait(retry, error, attempt, started, self.engine.dialect)
                if wait is None:
                    raise
            else:
                return result
            time.sleep(wait)

    def transactional(
        self, **options: Any
    ) -> Callable[[Callable[Concatenate[Session, _P], _T]], Callable[_P, _T]]:
        """Decorate a function that takes a session first: it is called without one, and run.

        :param options: those of :meth:`run`.
        """

        def decorate(fn: Callable[Concatenate[Session, _P], _T]) -> Callable[_P, _T]:
            @wraps(fn)
            def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
                def unit(session: Session) -> _T:
                    return fn(session, *args, **kwargs)

                return self.run(unit, **options)

            return call

        return decorate

    def health(self) -> Health:
        """Ask the database whether it can be written; without an answer, raise the error."""
        with self.engine.connect() as connection:
            return _health(connection)

    def create_receipt_table(self) -> None:
        """Create the table that ``receipts="row"`` writes to, where it is missing."""
        receipt.TABLE.create(self.engine, checkfirst=True)

    def dispose(self, timeout: float = 10) -> None:
        """Wait for the connections in use to come back, then close them all.

        :param timeout: seconds to wait; those that are late are closed when they come.
        """
        until = time.monotonic() + timeout
        for engine in self._made:
            while _checked_out(engine) and time.monotonic() < until:
                time.sleep(_PAUSE)
            engine.dispose()

    @cached_property
    def _maker(self) -> sessionmaker[Session]:
        return sessionmaker(self.engine, **self._session_options)

    @cached_property
    def _reading(self) -> cycle[Engine]:
        return cycle([self._create(create_engine, url) for url in self._readers])

    def _make(self, *, read_only: bool) -> Session:
        if read_only and self._readers:
            return self._maker(bind=next(self._reading))
        return self._maker()


class AsyncDatabase(_Units[AsyncSession]):
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
        session, block = self._open(nested, _Terms(isolation, read_only, timeout))
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
            return await connection.run_sync(_health)

    async def create_receipt_table(self) -> None:
        """Create the table that ``receipts="row"`` writes to; see ``Database``."""
        async with self.engine.begin() as connection:
            await connection.run_sync(receipt.TABLE.create, checkfirst=True)

    async def dispose(self, timeout: float = 10) -> None:
        """Wait for the connections in use to come back, then close them all; see ``Database``."""
        until = time.monotonic() + timeout
        for engine in self._made:
            while _checked_out(engine.sync_engine) and time.monotonic() < until:
                await asyncio.sleep(_PAUSE)
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


def _sync(session: Session | AsyncSession) -> Session:
    """Return the session that does the work."""
    return session if isinstance(session, Session) else cast("Session", session.sync_session)


def _begin(session: Session, terms: _Terms) -> None:
    """Begin a unit as what it is asked to be, and have its time run."""
    options = {} if terms.isolation is None else {"isolation_level": terms.isolation}
    connection = session.connection(execution_options=options)
    dialects.of(connection.dialect).begin(connection, read_only=terms.read_only)
    if terms.timeout is not None:
        activity.of(connection).set_deadline(terms.timeout)
        dialects.of(connection.dialect).set_statement_timeout(connection, terms.timeout)


@contextmanager
def _savepoint(session: Session) -> Iterator[None]:
    with session.begin_nested():
        yield


@contextmanager
def _part(running: _Running[Any]) -> Iterator[None]:
    """Be part of a unit that runs: an exception that leaves the part dooms the whole."""
    try:
        yield
    except BaseException as error:
        running.given_up = running.given_up or error
        for connection in internals.connections_of(_sync(running.session)):
            activity.of(connection).note_error(Doom.TRANSACTION, error)
        raise


def _check_terms(running: _Running[Any], terms: _Terms) -> None:
    if terms.isolation not in {None, running.terms.isolation}:
        raise TransactionJoinError.over("isolation", terms.isolation, running.terms.isolation)
    if terms.read_only and not running.terms.read_only:
        raise TransactionJoinError.over("read_only", terms.read_only, running.terms.read_only)
    if terms.timeout is not None and time.monotonic() + terms.timeout > running.ends_at:
        raise TransactionJoinError.over("timeout", terms.timeout, running.terms.timeout)


def _owner() -> object:
    """Return what a unit belongs to: the running task, or else the thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return task or threading.current_thread()


def _health(connection: Connection) -> Health:
    writable = dialects.of(connection.dialect).is_writable(connection)
    return Health(writable, _checked_out(connection.engine) - 1)


def _checked_out(engine: Engine) -> int:
    """Return how many connections of a pool are in use; a pool that does not count has none."""
    count: Callable[[], int] | None = getattr(engine.pool, "checkedout", None)
    return 0 if count is None else count()

"""Units of work that begin, end and join by themselves: what the two databases share."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from sqlalchemy import make_url

from sessionwise import dialects
from sessionwise.asyncio import AsyncSession
from sessionwise.dialects.traits import Doom
from sessionwise.errors import OptionError, TransactionDoomedError, TransactionJoinError
from sessionwise.options import NAMES
from sessionwise.session import Session
from sessionwise.transaction import activity, internals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Self

    from sqlalchemy import URL
    from sqlalchemy.engine import Dialect

    from sessionwise.transaction.receipt import ReceiptMode
    from sessionwise.transaction.retry import Retry

__all__ = ["Nested", "Terms", "Units"]

_SessionT = TypeVar("_SessionT", Session, AsyncSession)

Nested = Literal["join", "savepoint", "new"]
"""What ``transaction()`` does inside another one: be part of it, be a savepoint of it, or be a
unit of its own on another connection."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a unit is asked to be."""

    isolation: str | None
    read_only: bool
    timeout: float | None


@dataclass(slots=True)
class Running(Generic[_SessionT]):
    """A unit that runs, for those that join it."""

    session: _SessionT
    owner: object
    """The task or thread that began it: a child task inherits the context, not the unit."""
    terms: Terms
    ends_at: float
    given_up: BaseException | None = None
    """The exception that left a block which had joined."""


class Units(ABC, Generic[_SessionT]):
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
        self._running: ContextVar[Running[_SessionT] | None] = ContextVar("running", default=None)

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

    @abstractmethod
    def _make(self, *, read_only: bool) -> _SessionT:
        """Make a session, on a replica where it only reads."""

    def _create(self, create: Callable[..., Any], url: URL) -> Any:
        traits = dialects.of(url.get_dialect()())
        engine = create(url, **traits.engine_options(url) | self._engine_options)
        traits.configure(getattr(engine, "sync_engine", engine))
        self._made.append(engine)
        return engine

    def _joinable(self, nested: Nested = "join") -> Running[_SessionT] | None:
        running = self._running.get()
        if nested == "new" or running is None or running.owner is not _owner():
            return None
        return running

    def _open(
        self, nested: Nested, terms: Terms
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
    def _unit(self, session: _SessionT, terms: Terms) -> Iterator[None]:
        """Begin a unit, end it, and close its session."""
        seconds = float("inf") if terms.timeout is None else terms.timeout
        running = Running(session, _owner(), terms, time.monotonic() + seconds)
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


def _sync(session: Session | AsyncSession) -> Session:
    """Return the session that does the work."""
    return session if isinstance(session, Session) else cast("Session", session.sync_session)


def _begin(session: Session, terms: Terms) -> None:
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
def _part(running: Running[Any]) -> Iterator[None]:
    """Be part of a unit that runs: an exception that leaves the part dooms the whole."""
    try:
        yield
    except BaseException as error:
        running.given_up = running.given_up or error
        for connection in internals.connections_of(_sync(running.session)):
            activity.of(connection).note_error(Doom.TRANSACTION, error)
        raise


def _check_terms(running: Running[Any], terms: Terms) -> None:
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

"""Technique 1: one session per scope, which is closed when its owner ends.

Without an explicit scope the owner is the running task of asyncio, else the greenlet, else the
thread. A registry refers to owners weakly, and holds no session for one that has ended.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar
from weakref import WeakKeyDictionary, ref

import greenlet
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.util import ScopedRegistry, greenlet_spawn

from sessionwise.errors import LeakedSessionWarning
from sessionwise.session import Session
from sessionwise.transaction import internals
from sessionwise.transaction.unit import Unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager

    from sqlalchemy import Engine

    from sessionwise.autoflush import AutoflushMode
    from sessionwise.transaction.outcome import Outcome

__all__ = ["ScopeRegistry", "Verb", "current_owner", "scoped_session"]

_S = TypeVar("_S", bound=Session)
_T = TypeVar("_T")
_P = ParamSpec("_P")
_R = TypeVar("_R")


class Verb(Generic[_P, _R]):
    """A verb of a registry's: that of the current scope's session.

    :param method: the session's.
    """

    def __init__(self, method: Callable[Concatenate[Any, _P], _R]) -> None:
        self._name = method.__name__
        self.__doc__ = method.__doc__

    def __get__(self, scoped: Any, _owner: type[Any]) -> Callable[_P, _R]:
        """Return the bound method of the current session, or the verb itself for the class."""
        verb: Any = self if scoped is None else getattr(scoped.registry(), self._name)
        return verb  # type: ignore[no-any-return]


class scoped_session(orm.scoped_session[_S]):  # noqa: N801 -- SQLAlchemy's name for it
    """SQLAlchemy's ``scoped_session`` that holds no session longer than its owner lives.

    It also has the verbs that our sessions have more; each is the verb of the scope's session.

    :param session_factory: makes a session, usually a ``sessionmaker``.
    :param scopefunc: returns the key of the current scope, as in SQLAlchemy: the session then
      stays until ``remove()``. Without it there is one session per task, else per greenlet, else
      per thread, and it is closed when that ends.
    """

    registry: ScopeRegistry[_S]

    def __init__(
        self,
        session_factory: orm.sessionmaker[_S],
        scopefunc: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(session_factory, scopefunc)
        self.registry = ScopeRegistry(session_factory, scopefunc)

    @contextmanager
    def scope(self, **options: Any) -> Iterator[_S]:
        """Use one session for everything in a block, and close it at the end.

        Everything is what runs in the block's context: child tasks too, and the worker threads of
        ``asyncio.to_thread`` and of web frameworks. A scope in a scope has a session of its own.

        :param options: of the session, as the factory takes them.
        """
        session = self.session_factory(**options)
        with self.registry.block(session) as block:
            try:
                yield session
            finally:
                if block.has():
                    block.get(self.session_factory).close()

    @property
    def outcome(self) -> Outcome | None:
        """What has become of the current or last unit of work."""
        return self.registry().outcome

    @property
    def outcomes(self) -> Mapping[Engine, Outcome]:
        """The same for each of its databases."""
        return self.registry().outcomes

    @property
    def autoflush_mode(self) -> AutoflushMode:
        """What a query flushes: everything (True), nothing (False), or ``"related"``."""
        return self.registry().autoflush_mode

    on_commit = Verb(Session.on_commit)
    on_rollback = Verb(Session.on_rollback)
    bulk_insert = Verb(Session.bulk_insert)
    bulk_upsert = Verb(Session.bulk_upsert)
    bulk_update = Verb(Session.bulk_update)
    copy_in = Verb(Session.copy_in)
    copy_out = Verb(Session.copy_out)
    merge = Verb(Session.merge)
    merge_many = Verb(Session.merge_many)
    refresh_many = Verb(Session.refresh_many)
    report = Verb(Session.report)
    stream = Verb(Session.stream)
    each = Verb(Session.each)
    advisory_lock = Verb(Session.advisory_lock)

    # A descriptor cannot carry what these are typed by.

    def detach(self, instance: Any, *paths: Any) -> Any:
        """Load what is needed of an object, or of many, and detach it; see ``Session``."""
        return self.registry().detach(instance, *paths)

    def get_many(self, entity: type[_T], idents: Iterable[Any], **how: Any) -> list[Any]:
        """Return the objects with some primary keys; see ``Session``."""
        return self.registry().get_many(entity, idents, **how)

    def cursor(self, **bind_arguments: Any) -> AbstractContextManager[Any]:
        """Give the driver's cursor for a block."""
        return self.registry().cursor(**bind_arguments)


class ScopeRegistry(ScopedRegistry[_T]):
    """SQLAlchemy's registry of sessions, whose entries go with their owners.

    Its length is the number of entries.

    :param createfunc: makes a session.
    :param scopefunc: returns the key of the current scope; None: its owner is found out.
    """

    __slots__ = ("__weakref__", "_block")

    def __init__(
        self, createfunc: Callable[[], _T], scopefunc: Callable[[], Any] | None = None
    ) -> None:
        super().__init__(createfunc, scopefunc or current_owner)
        if scopefunc is None:
            self.registry = _ByOwner[_T]()
        self._block: ContextVar[Block[_T] | None] = ContextVar("sessionwise_scope", default=None)

    def __len__(self) -> int:
        return len(self.registry)

    def __call__(self) -> _T:
        """Return the session of the current scope; where it has none, a new one."""
        block = self._current_block()
        return super().__call__() if block is None else block.get(self.createfunc)

    def has(self) -> bool:
        """Say whether the current scope has a session."""
        block = self._current_block()
        return super().has() if block is None else block.has()

    def set(self, obj: _T) -> None:
        """Give the current scope a session; one that it had is let go of, and not closed."""
        block = self._current_block()
        if block is None:
            self.registry[self.scopefunc()] = obj
        else:
            block.set(obj)

    def clear(self) -> None:
        """Let go of the current scope's session, and do not close it."""
        block = self._current_block()
        if block is None:
            super().clear()
        else:
            block.set(None)

    @contextmanager
    def block(self, session: _T) -> Iterator[Block[_T]]:
        """Make a session the one of everything in a block."""
        block = Block(session, self._current_block())
        token = self._block.set(block)
        try:
            yield block
        finally:
            block.ended = True
            with suppress(ValueError):  # left in another context than entered: ended is enough
                self._block.reset(token)

    def _current_block(self) -> Block[_T] | None:
        block = self._block.get()
        while block is not None and block.ended:  # by a task that has outlived it
            block = block.outer
        return block


class Block(Generic[_T]):
    """What ``scope()`` holds: one session, whichever task or thread asks for it."""

    def __init__(self, session: _T, outer: Block[_T] | None) -> None:
        self._session: _T | None = session
        self._making = threading.Lock()
        self.outer = outer
        """The block around this one."""
        self.ended = False
        """Whether the block has been left."""

    def get(self, create: Callable[[], _T]) -> _T:
        """Return the session; where it was removed, a new one."""
        with self._making:
            if self._session is None:
                self._session = create()
            return self._session

    def has(self) -> bool:
        """Say whether there is a session."""
        return self._session is not None

    def set(self, session: _T | None) -> None:
        """Change the session."""
        self._session = session


class _Thread:
    """Stands for a thread, and dies in it: the ``Thread`` object may be kept, or not exist."""


_threads = threading.local()


def current_owner() -> object:
    """Return what the session of the caller belongs to: its task, else greenlet, else thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        task = None
    if task is not None:
        return task
    running = greenlet.getcurrent()
    while running.parent is not None:
        if not getattr(running, "__sqlalchemy_greenlet_provider__", False):
            return running
        running = running.parent  # SQLAlchemy's own, in which a session awaits
    try:
        return _threads.current
    except AttributeError:
        _threads.current = _Thread()
        return _threads.current


class _ByOwner(MutableMapping[object, _T]):
    """Sessions by their owners; what has ended has no entry."""

    def __init__(self) -> None:
        self._held: WeakKeyDictionary[object, _Held[_T]] = WeakKeyDictionary()

    def __getitem__(self, owner: object) -> _T:
        return self._held[owner].session

    def __setitem__(self, owner: object, session: _T) -> None:
        self.pop(owner, None)
        held = _Held(session, _name_of(owner), self)
        if isinstance(owner, asyncio.Task):
            owner.add_done_callback(held.end)
            if not isinstance(session, AsyncSession):
                self._end_finished(owner.get_loop())
        self._held[owner] = held

    def __delitem__(self, owner: object) -> None:
        held = self._held.pop(owner)
        held.forget()
        if isinstance(owner, asyncio.Task):
            owner.remove_done_callback(held.end)

    def __iter__(self) -> Iterator[object]:
        owners = [reference() for reference in self._held.keyrefs()]
        return (owner for owner in owners if owner is not None)

    def __len__(self) -> int:
        return len(self._held)

    def discard(self, owner: object) -> None:
        """Take out the entry of an owner that has ended."""
        self._held.pop(owner, None)

    def _end_finished(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the sessions of finished tasks whose callbacks the event loop has not come to yet.

        A task that waits for a connection of theirs by a sync driver would not let it.
        """
        for owner in self:
            if isinstance(owner, asyncio.Task) and owner.done() and owner.get_loop() is loop:
                held = self._held.get(owner)
                try:
                    if held is not None:
                        held.end(owner)
                except Exception as error:  # noqa: BLE001 -- another task's, told as from a callback
                    loop.call_exception_handler({"message": str(error), "exception": error})


class _Held(Generic[_T]):
    """The session of an owner: it is closed when the owner ends, or is collected."""

    def __init__(self, session: _T, owner: str, sessions: _ByOwner[_T]) -> None:
        self.session = session
        self._owner = owner
        # Where the registry itself is let go of, the session is left to whoever has it.
        self._sessions = ref(sessions)
        self._is_over = False

    def end(self, owner: object) -> None:
        """Close the session, its owner having ended."""
        sessions = self._sessions()
        if sessions is not None:
            sessions.discard(owner)
            self._close()

    def forget(self) -> None:
        """Leave the session to its user."""
        self._is_over = True

    def __del__(self) -> None:
        if self._sessions() is not None and not sys.is_finalizing():
            self._close()

    def _close(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        if isinstance(self.session, AsyncSession):
            _abandon(self.session.sync_session, self._owner)
        else:
            session: Any = self.session
            session.close()


def _name_of(owner: object) -> str:
    if isinstance(owner, asyncio.Task):
        return f"a finished task ({owner.get_name()})"
    return "a finished greenlet" if isinstance(owner, greenlet.greenlet) else "a finished thread"


def _abandon(session: orm.Session, owner: str) -> None:
    """Close the session of an ``AsyncSession`` where nothing can be awaited any more.

    A connection that it holds cannot be rolled back here: it is terminated, which rolls back.
    """
    root = session.get_transaction()
    entries = set() if root is None else internals.entries(root)
    if not entries:
        session.close()
        return
    if not all(is_own for *_, is_own in entries):
        return  # it has joined a transaction, which goes on
    connections = [connection for connection, *_ in entries]
    began_at = root.began_at if isinstance(root, Unit) else None

    def invalidate() -> None:
        if session.in_nested_transaction():
            for connection in connections:  # before a savepoint asks for a ROLLBACK TO
                connection.invalidate()
        session.invalidate()

    if all(connection.dialect.has_terminate for connection in connections):
        invalidate()
    else:
        _finish_at_once(invalidate)
    warnings.warn(LeakedSessionWarning.at(began_at or "an unknown place", owner), stacklevel=1)


def _finish_at_once(function: Callable[[], None]) -> None:
    """Run what awaits only what need not wait: psycopg's ``close()`` is such."""
    running = greenlet_spawn(function)
    try:
        running.send(None)
    except StopIteration:
        return
    running.close()

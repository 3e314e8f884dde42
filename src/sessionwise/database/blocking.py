"""``Database``: an engine, sessions, and units of work that end by themselves."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import cached_property, wraps
from itertools import cycle
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import create_engine

from sessionwise.database import health
from sessionwise.database.units import Nested, Terms, Units
from sessionwise.scope import scoped_session
from sessionwise.session import Session, sessionmaker
from sessionwise.transaction import receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from sessionwise.database.health import Health
    from sessionwise.transaction.retry import Retry

__all__ = ["Database"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Database(Units[Session]):
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
        session, block = self._open(nested, Terms(isolation, read_only, timeout))
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
            return health.ask(connection)

    def create_receipt_table(self) -> None:
        """Create the table that ``receipts="row"`` writes to, where it is missing."""
        receipt.TABLE.create(self.engine, checkfirst=True)

    def dispose(self, timeout: float = 10) -> None:
        """Wait for the connections in use to come back, then close them all.

        :param timeout: seconds to wait; those that are late are closed when they come.
        """
        until = time.monotonic() + timeout
        for engine in self._made:
            while health.checked_out(engine) and time.monotonic() < until:
                time.sleep(health.PAUSE)
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

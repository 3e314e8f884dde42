"""``Audit``: a table of contents, one short method per verb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload
from weakref import WeakKeyDictionary

from sessionwise.audit.along import Along
from sessionwise.audit.asking import changes, history, lifted
from sessionwise.audit.asking.diff import diff
from sessionwise.audit.asking.recorded import Wanted
from sessionwise.audit.coverage import Capture, Coverage
from sessionwise.audit.triggers import backfill, doctor, install
from sessionwise.audit.triggers.installed import Captures, look
from sessionwise.errors import OptionError
from sessionwise.transaction import companion

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator
    from datetime import datetime

    from sqlalchemy import Connection, Engine, MetaData
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session

    from sessionwise.audit.asking.change import Change
    from sessionwise.audit.triggers.doctor import Finding
    from sessionwise.lifting import AsyncObjects

__all__ = ["Audit", "OnUnaudited"]

OnUnaudited = Literal["raise", "warn"]
"""What is done about a write that the session cannot record: nothing is written, or a warning."""


class Audit:
    """Records every change of some tables, in the transaction that makes it.

    Give it to ``Session``, ``sessionmaker`` or ``Database`` as ``audit=``.

    :param metadata: whose tables are audited.
    :param tables: only these: tables, mapped classes or names.
    :param exclude: not these: tables, classes, columns, or names such as ``"users.password"``.
    :param redact: columns of which only a salted hash is stored.
    :param capture: who records: ``"trigger"``, what :meth:`install` makes in the database;
      ``"session"``, which needs no right to make them and sees what goes through sessions;
      ``"auto"``, triggers where a table has them.
    :param on_unaudited: what is done about a statement that the session cannot record.
    :raises OptionError: where an option has a value that it does not take.
    """

    def __init__(
        self,
        metadata: MetaData,
        *,
        tables: Iterable[Any] | None = None,
        exclude: Iterable[Any] = (),
        redact: Iterable[Any] = (),
        capture: Capture = "auto",
        on_unaudited: OnUnaudited = "raise",
    ) -> None:
        if capture not in {"auto", "trigger", "session"}:
            raise OptionError.for_value("capture", capture, ("auto", "trigger", "session"))
        if on_unaudited not in {"raise", "warn"}:
            raise OptionError.for_value("on_unaudited", on_unaudited, ("raise", "warn"))
        self.coverage = Coverage(metadata, tables=tables, exclude=exclude, redact=redact)
        self.capture: Capture = capture
        self.on_unaudited: OnUnaudited = on_unaudited
        self._captures: WeakKeyDictionary[Engine, Captures] = WeakKeyDictionary()
        self._along = Along(self)

    def attach(self, session: Session) -> None:
        """Audit a session; what ``Session(audit=...)`` does."""
        companion.give(session, self._along)
        self._along.attach(session)

    def captures(self, connection: Connection, *, anew: bool = False) -> Captures:
        """Return who records which table in a database; it is looked at once for an engine.

        :param anew: look again: somebody else may have made triggers.
        """
        engine = connection.engine
        if anew or engine not in self._captures:
            self._captures[engine] = look(connection, self.coverage, self.capture)
        return self._captures[engine]

    # What can be asked

    @overload
    def history(
        self, session: Session | scoped_session[Any], entity: object, ident: Any = None
    ) -> list[Change]: ...

    @overload
    def history(
        self, session: AsyncSession | async_scoped_session[Any], entity: object, ident: Any = None
    ) -> Coroutine[Any, Any, list[Change]]: ...

    def history(self, session: Any, entity: object, ident: Any = None) -> Any:
        """Flush, then return the changes of an object, oldest first, under all keys that it had.

        An object that is stored in several tables, by joined inheritance, has changes of each.
        With an ``AsyncSession`` it is awaited.

        :param entity: an object, or its class with ``ident``.
        :param ident: the primary key, as ``get()`` takes it.
        :raises OptionError: where that says no object.
        """
        return lifted.answer(
            session, lambda sync: history.history(sync, self.coverage, entity, ident)
        )

    @overload
    def changes(
        self,
        session: Session | scoped_session[Any],
        *,
        since: datetime | None = ...,
        until: datetime | None = ...,
        actor: str | None = ...,
        table: Any = ...,
        transaction: int | None = ...,
        limit: int | None = ...,
        after: int = ...,
    ) -> Iterator[Change]: ...

    @overload
    def changes(
        self,
        session: AsyncSession | async_scoped_session[Any],
        *,
        since: datetime | None = ...,
        until: datetime | None = ...,
        actor: str | None = ...,
        table: Any = ...,
        transaction: int | None = ...,
        limit: int | None = ...,
        after: int = ...,
    ) -> AsyncObjects[Change]: ...

    def changes(
        self,
        session: Any,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        actor: str | None = None,
        table: Any = None,
        transaction: int | None = None,
        limit: int | None = None,
        after: int = 0,
    ) -> Any:
        """Flush, then give the changes that were recorded, in their order, in constant memory.

        With an ``AsyncSession`` by ``async for``; awaited, a list.

        :param since: from this moment on; one without a zone is UTC.
        :param until: before this moment.
        :param actor: of this actor.
        :param table: of a mapped class, a ``Table`` or a name.
        :param transaction: with this ``transaction_id``.
        :param limit: so many at most.
        :param after: those whose ``id`` is higher, to go on where one has left off.
        :raises OptionError: for a ``table`` that is none.
        """
        names, bind = changes.tables_named(table)
        wanted = Wanted(since, until, actor, names, transaction)
        return lifted.chunks(
            session,
            lambda sync: changes.chunks(
                sync, self.coverage, wanted, bind=bind, after=after, limit=limit
            ),
        )

    def diff(self, before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
        """Return the attributes in which two states differ: what each was, and what it is.

        What one of them does not have is None, but for an object's attributes that were never
        recorded: these are left out.

        :param before: a change (the row that it has left), a mapped object, a dict, or None.
        :param after: the same.
        """
        return diff(before, after)

    def install(self, bind: Engine | Connection) -> None:
        """Make the audit's tables and triggers, where they are missing or stale.

        Triggers of tables that are no longer audited are removed. A second call changes nothing.
        With ``capture="session"`` the tables are all that is made. For asyncio:
        ``await connection.run_sync(audit.install)``.

        :param bind: an engine, or a connection, whose transaction is not committed here.
        :raises UnsupportedError: where there are no triggers for this database, or the user may
          not make them.
        :raises OptionError: where a table that is to be audited is not there.
        """
        with install.connected(bind) as connection:
            install.install(connection, self.coverage, self.capture)
        self._captures.clear()

    def uninstall(self, bind: Engine | Connection, *, drop_tables: bool = False) -> None:
        """Remove the triggers; nothing is recorded by the database from now on.

        :param drop_tables: remove the audit's tables, too, and with them what is recorded.
        """
        with install.connected(bind) as connection:
            install.uninstall(connection, self.coverage, drop_tables=drop_tables)
        self._captures.clear()

    def doctor(self, bind: Engine | Connection) -> list[Finding]:
        """Say what is wrong with the audit of a database: it is as it is to be where that is none.

        :return: what is missing, stale, disabled or left over, each with what to do.
        """
        with install.connected(bind) as connection:
            return doctor.examine(connection, self.coverage, self.capture)

    def backfill(self, bind: Engine | Connection) -> dict[str, int]:
        """Write a base line: record the rows that have no record yet, as inserted, once.

        The reason of its transactions is ``"backfill"``. An engine commits them by some thousand
        rows; on PostgreSQL nobody writes to a table while a batch of its rows is recorded.

        :return: how many rows were recorded, by table.
        """
        return backfill.backfill(bind, self.coverage)

    def listen_to_create(self) -> None:
        """Have ``metadata.create_all`` make a table's triggers with it, and the audit's tables."""
        install.listen_to_create(self.coverage.metadata, self.coverage, self.capture)

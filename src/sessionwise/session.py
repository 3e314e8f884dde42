"""``Session`` and ``sessionmaker``: a table of contents, one short method per verb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from sqlalchemy import orm

from sessionwise import autoflush as related
from sessionwise import (
    batch,
    connection,
    detach,
    get,
    identity,
    merge,
    options,
    refresh,
    report,
    savepoint,
    statistics,
    stream,
)
from sessionwise.autoflush import install as install_autoflush
from sessionwise.bulk.verbs import BulkVerbs
from sessionwise.errors import OptionError
from sessionwise.loading import batched, siblings
from sessionwise.loading import internals as loading
from sessionwise.stream import CHUNK_SIZE as STREAMED
from sessionwise.transaction import callbacks, flushing, internals, unit
from sessionwise.transaction.concurrency import Guard
from sessionwise.transaction.failed_block import install as install_failed_block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Unpack

    from sqlalchemy import Connection, Engine, Select
    from sqlalchemy.orm import QueryableAttribute, SessionTransaction
    from sqlalchemy.orm.interfaces import ORMOption
    from sqlalchemy.sql.selectable import ForUpdateParameter

    from sessionwise.audit import Audit
    from sessionwise.autoflush import AutoflushMode
    from sessionwise.get import Missing
    from sessionwise.merge import Conflicts
    from sessionwise.merge import Missing as MissingOnMerge
    from sessionwise.refresh import Missing as MissingOnRefresh
    from sessionwise.report import SessionReport
    from sessionwise.transaction.failed_block import FailedBlockMode
    from sessionwise.transaction.outcome import Outcome
    from sessionwise.transaction.receipt import ReceiptMode

__all__ = ["Session", "sessionmaker"]

_S = TypeVar("_S", bound=orm.Session)
_T = TypeVar("_T")
_O = TypeVar("_O", bound=object)
HookT = TypeVar("HookT", bound="Callable[[], object]")


class Session(BulkVerbs, orm.Session):
    """SQLAlchemy's ``Session``, and what the rooms of this package add to it.

    Cooperative: ``class S(sessionwise.Session, sqlmodel.Session)`` has the verbs of both.

    :param bind: the engine or connection, as in SQLAlchemy.
    :param autoflush: ``"related"`` flushes before a query only where it can see what is pending.
    :param failed_block: what ``rollback()`` undoes while it handles the exception that a savepoint
      block has undone already: ``"unit"``, the whole unit of work, as in SQLAlchemy, or
      ``"contained"``, nothing more.
    :param receipts: take a receipt before COMMIT, by which a lost reply to it is resolved: True,
      on PostgreSQL, or ``"row"``, in a table (``Database.create_receipt_table``). That is one
      round trip for each unit that wrote.
    :param batch_loads: load many objects at a time: one that is expired with those expired with
      it, and a lazy relationship for the objects of the same query; 500 at most.
    :param audit: what records who has changed what.
    :param options: SQLAlchemy's options.
    :raises OptionError: where an option has a value that it does not take.
    """

    def __init__(
        self,
        bind: Engine | Connection | None = None,
        *,
        autoflush: AutoflushMode = True,
        failed_block: FailedBlockMode = "unit",
        receipts: ReceiptMode = False,
        batch_loads: bool = False,
        audit: Audit | None = None,
        **options: Unpack[options.PlainOptions],
    ) -> None:
        super().__init__(bind, autoflush=bool(autoflush), **options)
        identity.install(self)
        install_autoflush(self, autoflush)
        install_failed_block(self, failed_block)
        unit.install(self, receipts=receipts)
        self._guard = Guard()
        if batch_loads:
            siblings.install(self)
        if audit is not None:
            audit.attach(self)

    # 0 unit of work

    def _autobegin_t(self, begin: bool = False) -> SessionTransaction:
        running = internals.innermost(self)
        if running is not None:  # this runs for each object that is added
            return running
        if not (begin or self.autobegin):
            return super()._autobegin_t(begin)  # raises
        around = siblings.of(self)
        if around is not None:
            around.begin()
        return unit.begin(self, explicitly=begin)

    @property
    def outcome(self) -> Outcome | None:
        """What has become of the current or last unit of work; None before the first."""
        return unit.ledger_of(self).outcome

    @property
    def outcomes(self) -> Mapping[Engine, Outcome]:
        """The same for each of its databases."""
        return dict(unit.ledger_of(self).by_engine)

    def on_commit(self, hook: HookT, *, robust: bool = False) -> HookT:
        """Have a function called once, after the root transaction has committed.

        What is registered in a savepoint that is rolled back is forgotten.

        :param hook: takes nothing; it may use the session, which begins a new unit.
        :param robust: only log what it raises; else CommitHookError is raised, after all have run.
        """
        callbacks.of(self._boundary()).on_commit.append((hook, robust))
        return hook

    def on_rollback(self, hook: HookT, *, robust: bool = False) -> HookT:
        """Have a function called once, after the root transaction has been rolled back or closed.

        The parameters are those of :meth:`on_commit`.
        """
        callbacks.of(self._boundary()).on_rollback.append((hook, robust))
        return hook

    def _boundary(self) -> SessionTransaction:
        """Return the innermost savepoint, or the root transaction."""
        return self.get_nested_transaction() or self._autobegin_t()

    # What reaches the database serves one thread or task at a time.

    if not TYPE_CHECKING:

        def execute(self, statement: Any, params: Any = None, **kwargs: Any) -> Any:
            """Execute a statement, as in SQLAlchemy."""
            with self._guard:
                loaded = self._load_many(statement, params, kwargs.get("execution_options"))
                if loaded is not None:
                    return loaded
                return related.run(self, super().execute, statement, params, **kwargs)

        def scalar(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
            """Execute a statement, as in SQLAlchemy."""
            with self._guard:
                return related.run(self, super().scalar, statement, *args, **kwargs)

        def scalars(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
            """Execute a statement, as in SQLAlchemy."""
            with self._guard:
                return related.run(self, super().scalars, statement, *args, **kwargs)

    def _load_many(self, statement: Any, params: Any, options: Any) -> Any:
        """Load for many objects what SQLAlchemy is about to load for one, where that is asked."""
        around = siblings.of(self)
        if around is None or not options or "_sa_orm_load_options" not in options:
            return None
        wanted = loading.load_of(statement, params, options)
        if wanted is None:
            return None
        with related.about(self, statement):
            return batched.answer(self, around, super().execute, wanted)

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        """Send what has changed, as in SQLAlchemy."""
        with self._guard:
            if internals.is_clean(self):  # as at most of the autoflushes
                super().flush(objects)
            else:
                flushing.flush(self, super().flush, objects)
                related.note_flushed(self)

    # 9 autoflush

    @property
    def autoflush_mode(self) -> AutoflushMode:
        """What a query flushes: everything (True), nothing (False), or ``"related"``."""
        return related.mode_of(self)

    def _autoflush(self) -> None:
        if not related.is_needed(self):
            return
        counted = statistics.of(self)
        counted.in_autoflush = True
        try:
            super()._autoflush()
        finally:
            counted.in_autoflush = False

    def delete(self, instance: object) -> None:
        """Mark an object to be deleted, as in SQLAlchemy."""
        super().delete(instance)
        related.note_deleted(self, [instance])

    def delete_all(self, instances: Iterable[object]) -> None:
        """Mark objects to be deleted, as in SQLAlchemy."""
        marked = list(instances)
        super().delete_all(marked)
        related.note_deleted(self, marked)

    def close(self) -> None:
        """Close the session; while another thread or task uses it, when that call has ended."""
        if not self._guard.defer(super().invalidate):
            super().close()

    def reset(self) -> None:
        """Reset the session; while another thread or task uses it, when that call has ended."""
        if not self._guard.defer(super().invalidate):
            super().reset()

    def invalidate(self) -> None:
        """Close the session and its connections, at the latest when a running call has ended."""
        if not self._guard.defer(super().invalidate):
            super().invalidate()

    # 3 bulk: BulkVerbs

    # 4 merge

    def merge(
        self,
        instance: _O,
        *,
        load: bool = True,
        options: Sequence[ORMOption] | None = None,
        conflicts: Conflicts = "overwrite",
    ) -> _O:
        """Merge an object into the session, as in SQLAlchemy.

        :param conflicts: ``"mine"``, ``"theirs"`` or ``"raise"`` merge three ways, as
          :meth:`merge_many` does.
        """
        if conflicts != "overwrite" and not load:
            raise OptionError(
                f"conflicts={conflicts!r} compares with the row; leave load=False out"
            )
        if conflicts == "overwrite":
            with related.about(self, None):
                return super().merge(instance, load=load, options=options)
        return merge.merge_many(self, [instance], conflicts=conflicts, options=options)[0]

    def merge_all(
        self,
        instances: Iterable[_O],
        *,
        load: bool = True,
        options: Sequence[ORMOption] | None = None,
    ) -> Sequence[_O]:
        """Merge many objects, as in SQLAlchemy, for a SELECT for 500 of a class."""
        if not load:
            return super().merge_all(instances, load=load, options=options)
        return merge.merge_many(self, instances, options=options)

    def merge_many(
        self,
        instances: Iterable[_O],
        *,
        conflicts: Conflicts = "overwrite",
        missing: MissingOnMerge = "insert",
        options: Sequence[ORMOption] | None = None,
    ) -> list[_O]:
        """Merge many objects, and what they cascade to, for a SELECT for 500 of a class.

        ``"mine"``, ``"theirs"`` and ``"raise"`` compare three values of each attribute: what the
        object was loaded with, what it has now, and what its row has now. What I did not touch is
        not written; where both have changed, the choice decides.

        :param missing: ``"insert"`` objects that have no row, or ``"raise"``.
        :raises MergeConflictError: for ``"raise"``, with every conflict; nothing has been merged.
        :raises MissingRowsError: for ``missing="raise"``; nothing has been merged.
        """
        return merge.merge_many(
            self, instances, conflicts=conflicts, missing=missing, options=options
        )

    # 5 detach

    @overload
    def detach(
        self, instance: Sequence[_T], *paths: str | QueryableAttribute[Any]
    ) -> list[_T]: ...

    @overload
    def detach(self, instance: _T, *paths: str | QueryableAttribute[Any]) -> _T: ...

    def detach(self, instance: Any, *paths: str | QueryableAttribute[Any]) -> Any:
        """Load what is needed of an object, or of a list of them, and take it out of the session.

        What was loaded can be read ever after; what was not raises NotLoadedError. To change what
        can be reached from the objects writes nothing.

        :param paths: what to load, as attributes or names; dots lead on: ``"orders.items"``.
        """
        return detach.detach(self, instance, *paths)

    # 6 refresh

    def refresh(
        self,
        instance: object,
        attribute_names: Iterable[str] | None = None,
        with_for_update: ForUpdateParameter = None,
    ) -> None:
        """Read an object's row anew, as in SQLAlchemy; warn where that is an old state."""
        with related.about(self, None):
            refresh.refresh(self, super().refresh, instance, attribute_names, with_for_update)

    def refresh_many(
        self,
        instances: Iterable[_T],
        attribute_names: Iterable[str] | None = None,
        *,
        with_for_update: bool | Mapping[str, Any] | None = None,
        missing: MissingOnRefresh = "raise",
    ) -> list[_T]:
        """Read the rows of many objects anew, by one SELECT for 500.

        :param attribute_names: what to refresh; None: columns, and what was loaded eagerly.
        :param with_for_update: lock the rows: True, or the parameters of ``with_for_update()``.
        :param missing: for objects whose row is gone: ``"raise"``, or ``"expunge"`` them.
        :returns: the objects that have a row.
        :raises MissingRowsError: for ``missing="raise"``.
        """
        return refresh.refresh_many(
            self, instances, attribute_names, with_for_update=with_for_update, missing=missing
        )

    # 8 get

    if not TYPE_CHECKING:

        def get(self, entity: Any, ident: Any, **how: Any) -> Any:
            """Return the object with a primary key, as in SQLAlchemy."""
            token = how.get("identity_token")
            if loading.is_known_absent(self, entity, ident, token):  # in a merge
                return None
            return super().get(entity, ident, **how)

    @overload
    def get_many(
        self,
        entity: type[_T],
        idents: Iterable[Any],
        *,
        missing: Literal["none"] = ...,
        **how: Any,
    ) -> list[_T | None]: ...

    @overload
    def get_many(
        self,
        entity: type[_T],
        idents: Iterable[Any],
        *,
        missing: Literal["skip", "raise"],
        **how: Any,
    ) -> list[_T]: ...

    def get_many(
        self, entity: type[_T], idents: Iterable[Any], *, missing: Missing = "none", **how: Any
    ) -> list[Any]:
        """Return the objects with some primary keys, in the order asked: one SELECT for 500.

        What the identity map holds costs nothing.

        :param idents: primary keys, each as ``get()`` takes it.
        :param missing: what stands for a row that is not there: ``"none"``: None; ``"skip"``:
          nothing; ``"raise"``: an error.
        :param how: the other parameters of ``get()``: ``options``, ``populate_existing``,
          ``with_for_update``, ``identity_token``, ``execution_options``, ``bind_arguments``.
        :raises MissingRowsError: for ``missing="raise"``, with the keys of all that are not there.
        """
        return get.get_many(self, entity, idents, missing=missing, **how)

    # 10 identity map

    def report(self, *, sizes: bool = False) -> SessionReport:
        """Count what the session holds, by class and state, and what it has done in its unit.

        :param sizes: measure the objects' memory, too.
        """
        return report.report(self, sizes=sizes)

    def stream(self, statement: Select[_T], *, chunk_size: int = STREAMED) -> Iterator[_T]:
        """Give the objects of a SELECT one by one, in constant memory.

        Other statements, and commits, may come in between.

        :param statement: a SELECT of one mapped class.
        :param chunk_size: how many objects are in memory at a time.
        """
        return stream.stream(self, statement, chunk_size=chunk_size)

    def expunge(self, instance: object) -> None:
        """Remove an object from the session, as in SQLAlchemy."""
        flushed = internals.unconfirmed(self)
        if flushed:
            loading.mark_unconfirmed(instance, flushed)
        super().expunge(instance)

    def expunge_all(self) -> None:
        """Remove every object from the session, as in SQLAlchemy."""
        for flushed in internals.unconfirmed(self):
            loading.mark_all_unconfirmed(flushed)
        super().expunge_all()
        identity.install(self)
        related.watch(self)

    # 11 savepoint

    def begin(self, nested: bool = False) -> SessionTransaction:
        """Begin a transaction, or a savepoint, whose ``with`` block owns what happens in it."""
        transaction = super().begin(nested)
        return savepoint.block(transaction) if nested else transaction

    def commit(self) -> None:
        """Commit the transaction; in a savepoint block, the block's savepoint."""
        with self._guard:
            savepoint.commit(self, super().commit)

    def rollback(self) -> None:
        """Roll back the transaction; in a savepoint block, the block's savepoint."""
        with self._guard:
            savepoint.rollback(self, super().rollback)

    def each(
        self,
        items: Iterable[_T],
        apply: Callable[[_T], object] | None = None,
        *,
        chunk_size: int = batch.CHUNK_SIZE,
    ) -> batch.BatchResult[_T]:
        """Do the same to each item, as if it had a savepoint of its own.

        :param items: read as needed, ``chunk_size`` at a time.
        :param apply: takes an item; ``session.add`` by default. It is called again for the items
          of a chunk in which one failed.
        :param chunk_size: how many items share a savepoint, at most.
        :returns: the items accepted, and those rejected with their errors.
        :raises OptionError: for a ``chunk_size`` below 1.
        """
        return batch.each(self, items, apply, chunk_size=chunk_size)

    # 12 connection

    def connection(
        self,
        bind_arguments: dict[str, Any] | None = None,
        execution_options: Mapping[str, Any] | None = None,
    ) -> Connection:
        """Return the connection of the transaction, as in SQLAlchemy.

        :raises LateIsolationError: where an isolation level is asked for and it has begun.
        """
        with self._guard:
            get = super().connection
            return connection.get(self, get, bind_arguments, execution_options)

    def advisory_lock(self, key: int | str, *, timeout: float | None = None) -> None:
        """Hold a lock of the database's that only means what its users agree on.

        It is held until the unit of work ends. PostgreSQL and MariaDB have it.

        :param key: what is locked: a number of 64 bits, or a name.
        :param timeout: seconds to wait; None: as long as it takes.
        :raises LockTimeoutError: where somebody else held it all the time.
        :raises UnsupportedError: on a database that has no such locks, and on a standby.
        """
        connection.advisory_lock(self, key, timeout)

    def cursor(self, **bind_arguments: Any) -> AbstractContextManager[Any]:
        """Flush, then give the driver's own cursor, in the session's transaction, for a block.

        :param bind_arguments: as in ``get_bind``, for a session with several engines.
        """
        return connection.cursor(self, **bind_arguments)


class sessionmaker(orm.sessionmaker[_S]):  # noqa: N801 -- SQLAlchemy's name for it
    """SQLAlchemy's ``sessionmaker`` that makes our sessions and takes our options.

    :raises OptionError: where an option of ours meets a ``class_`` that is not ours.
    """

    @overload
    def __init__(
        self,
        bind: Engine | Connection | None = None,
        *,
        class_: type[_S],
        **options: Any,
    ) -> None: ...

    @overload
    def __init__(
        self: sessionmaker[Session],
        bind: Engine | Connection | None = None,
        **options: Unpack[options.SessionOptions],
    ) -> None: ...

    def __init__(
        self,
        bind: Engine | Connection | None = None,
        *,
        class_: type[Any] = Session,
        **kw: Any,
    ) -> None:
        options.refuse_for_class(class_, Session, kw)
        super().__init__(bind, class_=class_, **kw)

    def configure(self, **new_kw: Any) -> None:
        """Change the options of the sessions to come, as in SQLAlchemy."""
        options.refuse_for_class(self.class_, Session, new_kw)
        super().configure(**new_kw)

"""Technique 9: autoflush, and ``autoflush="related"``: only where a query can see what is pending.

What is pending is noted when it comes about, table by table, so that to decide costs the same
however much there is. A table that has been noted stays so until a flush.

Not seen are rows that views show, that triggers make, or that mapper events make in a flush.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sqlalchemy import event
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import object_mapper

from sessionwise.errors import OptionError
from sessionwise.loading.reads import tables_read
from sessionwise.sql import flushes
from sessionwise.sql.internals import follow_changes
from sessionwise.sql.mapped import known_tables, sources_of
from sessionwise.transaction import internals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    from sqlalchemy import MetaData
    from sqlalchemy.orm import InstanceState, Mapper, ORMExecuteState, Session

__all__ = [
    "AutoflushMode",
    "Pending",
    "about",
    "install",
    "is_needed",
    "mode_of",
    "note_deleted",
    "note_flushed",
    "of",
    "run",
    "watch",
]

AutoflushMode = bool | Literal["related"]
"""What ``autoflush`` takes."""

_T = TypeVar("_T")

_ATTRIBUTE = "_sessionwise_pending"


class Pending:
    """What a flush of a session would write, as far as a query can tell."""

    def __init__(self) -> None:
        self.tables: set[str] = set()
        """The tables, by their bare names in lower case."""
        self.metadata: set[MetaData] = set()
        """What knows their like."""
        self.statement: Any = None
        """The statement that is about to be executed, until it has been decided about."""
        self._noted: set[tuple[Mapper[Any], str]] = set()

    def note_new(self, mapper: Mapper[Any]) -> None:
        """Note that there is a new object of a class."""
        if (mapper, "") not in self._noted:
            self._note(mapper, "", flushes.of_new(mapper))

    def note_changed(self, mapper: Mapper[Any], name: str) -> None:
        """Note that an attribute of some object of a class has changed."""
        if (mapper, name) not in self._noted:
            self._note(mapper, name, flushes.of_changed(mapper, name))

    def note_deleted(self, mapper: Mapper[Any]) -> None:
        """Note that an object of a class is to be deleted."""
        self._note(mapper, "", flushes.of_deleted(mapper))

    def _note(self, mapper: Mapper[Any], name: str, tables: frozenset[str]) -> None:
        self._noted.add((mapper, name))
        self.tables |= tables
        self.metadata |= sources_of(mapper).metadata

    def clear(self) -> None:
        """Forget all of it: it has been flushed."""
        self._noted.clear()
        self.tables.clear()
        self.metadata.clear()


class _Modified(set["InstanceState[Any]"]):
    """The changed objects of an identity map; it tells of each attribute that is changed."""

    def __init__(self, pending: Pending) -> None:
        super().__init__()
        self._pending = pending

    def add(self, state: InstanceState[Any]) -> None:
        """Add an object; its changes, those to come included, are noted."""
        super().add(state)
        changes = state.committed_state
        if not isinstance(changes, _Changes) or changes.pending is not self._pending:
            state.committed_state = _Changes(state.mapper, self._pending, changes)


class _Changes(dict[str, Any]):
    """The values that the changed attributes of an object had; it tells of each new entry.

    SQLAlchemy tells an identity map of the first change of an object only.
    """

    def __init__(self, mapper: Mapper[Any], pending: Pending, found: Mapping[str, Any]) -> None:
        super().__init__(found)
        self.pending = pending
        self._mapper = mapper
        for name in found:
            pending.note_changed(mapper, name)

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        self.pending.note_changed(self._mapper, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def install(session: Session, mode: AutoflushMode) -> None:
    """Give the session its mode.

    :raises OptionError: where there is no such mode.
    """
    if not isinstance(mode, str):
        return
    if mode != "related":
        raise OptionError.for_value("autoflush", mode, (True, False, "related"))
    session.__dict__[_ATTRIBUTE] = Pending()
    event.listen(session, "transient_to_pending", _note_new)
    watch(session)


def watch(session: Session) -> None:
    """Follow the changes in a new identity map of the session."""
    pending = of(session)
    if pending is not None:
        follow_changes(session, _Modified(pending))


def of(session: Session) -> Pending | None:
    """Return what is pending in a session; None where the mode does not ask for it."""
    found: Pending | None = session.__dict__.get(_ATTRIBUTE)
    return found


def _note_new(session: Session, instance: object) -> None:
    pending = of(session)
    if pending is not None:
        pending.note_new(object_mapper(instance))


def note_deleted(session: Session, instances: Iterable[object]) -> None:
    """Note objects that are to be deleted."""
    pending = of(session)
    if pending is not None:
        for instance in instances:
            pending.note_deleted(object_mapper(instance))


def note_flushed(session: Session) -> None:
    """Note that a flush has ended."""
    pending = of(session)
    if pending is not None and internals.is_clean(session):
        pending.clear()


def mode_of(session: Session) -> AutoflushMode:
    """Return the mode of a session, as it is now."""
    return "related" if session.autoflush and of(session) is not None else session.autoflush


class _About:
    """A block in which a statement decides about the autoflush."""

    __slots__ = ("_before", "_pending")

    def __init__(self, pending: Pending, statement: Any) -> None:
        self._pending = pending
        self._before = pending.statement
        pending.statement = statement

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._pending.statement = self._before


_ANYTHING = nullcontext()


def about(session: Session, statement: Any) -> AbstractContextManager[None]:
    """Let a statement decide about the autoflush in a block; None: it is needed."""
    pending = of(session)
    if pending is None:
        return _ANYTHING
    listeners = session.dispatch.do_orm_execute
    if listeners and not event.contains(session, "do_orm_execute", _note_final):
        event.listen(session, "do_orm_execute", _note_final)
    return _About(pending, statement)


def run(
    session: Session, execute: Callable[..., _T], statement: Any, *args: Any, **how: Any
) -> _T:
    """Execute a statement, and let it decide about the autoflush."""
    if _ATTRIBUTE not in session.__dict__:  # as in most sessions
        return execute(statement, *args, **how)
    with about(session, statement):
        return execute(statement, *args, **how)


def _note_final(execution: ORMExecuteState) -> None:
    """Note the statement that other listeners have made of the one to be executed."""
    pending = of(execution.session)
    if pending is not None:
        pending.statement = execution.statement


def is_needed(session: Session) -> bool:
    """Say whether the statement that is about to be executed may see what is pending."""
    pending = of(session)
    if pending is None:
        return True
    statement, pending.statement = pending.statement, None
    if internals.is_clean(session):
        pending.clear()
        return False
    listeners = list(session.dispatch.do_orm_execute)
    is_final = not listeners or listeners[-1] is _note_final
    if statement is None or not is_final or session.dispatch.before_flush:
        return True
    tables = tables_read(statement, _dialect_of(session, statement))
    if tables is None:
        return True
    # A name that nobody knows may be that of a view.
    return not (tables.isdisjoint(pending.tables) and tables <= known_tables(pending.metadata))


def _dialect_of(session: Session, statement: Any) -> str:
    try:
        bind = session.bind or session.get_bind(clause=statement)
    except UnboundExecutionError:
        return ""  # it has its database from elsewhere
    return bind.dialect.name

"""What a session holds, and what it has done in its unit of work: ``session.report()``."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect

from sessionwise import statistics
from sessionwise.transaction import activity, internals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy.orm import Session

__all__ = ["ClassReport", "SessionReport", "report"]


@dataclass(frozen=True)
class ClassReport:
    """The objects of one class in a session, each counted once."""

    new: int
    """Added, and not flushed."""
    dirty: int
    """Stored, changed, and not flushed."""
    deleted: int
    """Marked for deletion, and not flushed."""
    expired: int
    """To be read again when they are next touched."""
    clean: int
    """The rest: as they were read or flushed."""
    bytes: int | None
    """About how much memory they take, with the values of their attributes; None: not asked."""

    @property
    def total(self) -> int:
        """How many there are."""
        return self.new + self.dirty + self.deleted + self.expired + self.clean


@dataclass(frozen=True)
class SessionReport:
    """What a session holds, and what it has done since its unit of work began."""

    classes: Mapping[type[Any], ClassReport]
    """Its objects, by class."""
    statements: int
    """Statements sent."""
    flushes: int
    """Flushes that sent something, autoflushes included."""
    autoflushes: int
    """Those of them that a query has caused."""
    savepoints: int
    """Savepoints that are open."""
    seconds: float | None
    """Since the unit began; None outside of one."""

    def __str__(self) -> str:
        lines = [
            f"{class_.__name__}: {one.total:,} ({one.new} new, {one.dirty} dirty, {one.deleted} "
            f"deleted, {one.expired} expired, {one.clean} clean)"
            + ("" if one.bytes is None else f", about {one.bytes:,} bytes")
            for class_, one in self.classes.items()
        ]
        time_ = (
            "no transaction" if self.seconds is None else f"{self.seconds:.3f} s in transaction"
        )
        lines.append(
            f"{self.statements} statements, {self.flushes} flushes ({self.autoflushes} by "
            f"autoflush), {self.savepoints} open savepoints, {time_}"
        )
        return "\n".join(lines)


def report(session: Session, *, sizes: bool = False) -> SessionReport:
    """Count what a session holds and has done; nothing is sent or loaded.

    :param sizes: measure the objects' memory, too.
    """
    counts: dict[type[Any], Counter[str]] = {}
    for instance, kind in _objects(session):
        of_class = counts.setdefault(type(instance), Counter())
        of_class[kind] += 1
        if sizes:
            of_class["bytes"] += _size(instance)
    kinds = ("new", "dirty", "deleted", "expired", "clean")
    in_order = sorted(counts.items(), key=lambda item: item[0].__name__)
    counted = statistics.of(session)
    began = counted.began if session.in_transaction() else None
    return SessionReport(
        classes={
            class_: ClassReport(
                **{kind: count[kind] for kind in kinds}, bytes=count["bytes"] if sizes else None
            )
            for class_, count in in_order
        },
        statements=sum(
            activity.of(connection).statements for connection in internals.connections_of(session)
        ),
        flushes=counted.flushes,
        autoflushes=counted.autoflushes,
        savepoints=_savepoints(session),
        seconds=None if began is None else time.monotonic() - began,
    )


def _objects(session: Session) -> Iterator[tuple[object, str]]:
    deleted = set(map(id, session.deleted))
    for instance in session.new:
        yield instance, "new"
    for instance in session.identity_map.values():
        state = inspect(instance)
        if id(instance) in deleted:
            yield instance, "deleted"
        elif state.modified:
            yield instance, "dirty"
        else:
            yield instance, "expired" if state.expired else "clean"


def _size(instance: Any) -> int:
    """Measure an object, its state and its values; not what it refers to by relationships."""
    state, loaded = inspect(instance), instance.__dict__
    columns = state.mapper.column_attrs
    values = (value for key, value in loaded.items() if key in columns)
    return sum(map(sys.getsizeof, (instance, loaded, state, state.__dict__, *values)))


def _savepoints(session: Session) -> int:
    count, transaction = 0, session.get_nested_transaction()
    while transaction is not None and transaction.nested:
        count, transaction = count + 1, transaction.parent
    return count

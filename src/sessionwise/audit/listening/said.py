"""What listeners have said in a session: what waits for the flush, and what was said already."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, event, inspect

from sessionwise.audit.coverage import full_name
from sessionwise.audit.listening.writing import write
from sessionwise.errors import OptionError
from sessionwise.transaction import running

if TYPE_CHECKING:
    from sqlalchemy.orm import InstanceState, Session, SessionTransaction

    from sessionwise.audit.listening.lines import Told

__all__ = ["Said", "names_of", "of"]

_ATTRIBUTE = "_sessionwise_said"


@dataclass
class _Order:
    """The pending objects of a table, in the order in which listeners come by them."""

    events: running.Events | None
    states: list[InstanceState[Any]]
    asked: int = 0


@dataclass
class Said:
    """What the listeners of a session have said."""

    waiting: list[Told] = field(default_factory=list)
    """What is written when a flush has given it its id, or its values."""
    recent: set[tuple[str, ...]] = field(default_factory=set)
    """What was said since the last flush: ``before_commit`` comes again as savepoints end."""
    orders: dict[str, _Order] = field(default_factory=dict)

    def say(self, session: Session, told: Told) -> None:
        """Write what a listener says, as soon as all of it is known; once for a flush."""
        if told.key in self.recent:
            return
        self.recent.add(told.key)
        if told.is_known:
            write(session, [told])
        else:
            self.waiting.append(told)

    def next_pending(self, session: Session, table: str) -> InstanceState[Any]:
        """Return the object that is meant by a call without an id: they come in their order.

        :raises OptionError: where no object of the table is pending.
        """
        events = running.current()
        order = self.orders.get(table)
        if order is None or order.events is not events:
            states = [inspect(one) for one in session.new]
            pending = [one for one in states if _is_of(one, table) and not has_key(one)]
            order = self.orders[table] = _Order(events, pending)
        if not order.states:
            raise OptionError(
                f"AuditLog.create() has no object_id, and no new object of {table!r} is pending "
                "whose id it could be; give object_id="
            )
        order.asked += 1
        return order.states[(order.asked - 1) % len(order.states)]

    def flushed(self, session: Session) -> None:
        """Write what has waited for a flush.

        :raises OptionError: where nobody can tell whose ids were meant.
        """
        for table, order in self.orders.items():
            if order.asked % len(order.states):
                raise OptionError(
                    f"AuditLog.create() was called without an object_id for {order.asked} of "
                    f"{len(order.states)} new objects of {table!r}, and nobody can tell for "
                    "which; give the object itself: object_id=obj"
                )
        written = [one for one in self.waiting if one.has_row]
        self.forget()
        if written:
            write(session, written)

    def forget(self) -> None:
        """Forget what was said: it is written, or rolled back."""
        self.waiting.clear()
        self.recent.clear()
        self.orders.clear()


def of(session: Session) -> Said:
    """Return what the listeners of a session have said."""
    known: Said | None = session.__dict__.get(_ATTRIBUTE)
    if known is None:
        known = session.__dict__[_ATTRIBUTE] = Said()
        event.listen(session, "after_flush", _after_flush)
        event.listen(session, "after_transaction_end", _after_transaction_end)
        event.listen(session, "after_soft_rollback", _after_soft_rollback)
    return known


def _after_flush(session: Session, _context: Any) -> None:
    of(session).flushed(session)


def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        of(session).forget()


def _after_soft_rollback(session: Session, _transaction: Any) -> None:
    of(session).forget()


def _is_of(state: InstanceState[Any], table: str) -> bool:
    tables = state.mapper.tables
    return any(isinstance(one, Table) and table in names_of(one) for one in tables)


def has_key(state: InstanceState[Any]) -> bool:
    """Say whether an object has its primary key, as some have before they are stored."""
    return None not in state.mapper.primary_key_from_instance(state.object)


def names_of(table: Table) -> set[str]:
    """Return what a listener may call a table: ``__tablename__``, or with its schema."""
    return {table.name, full_name(table)}

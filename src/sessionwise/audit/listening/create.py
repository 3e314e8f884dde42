"""``AuditLog.create``: records what a listener says, with the ids that a flush gives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, inspect
from sqlalchemy.orm import InstanceState

from sessionwise.audit.along import Along
from sessionwise.audit.asking.decode import aware
from sessionwise.audit.asking.internals import mapped_tables
from sessionwise.audit.coverage import full_name
from sessionwise.audit.listening import said
from sessionwise.audit.listening.lines import Told
from sessionwise.audit.listening.net import NetChanges
from sessionwise.errors import OptionError
from sessionwise.transaction import companion, running

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

__all__ = ["create"]

_ACTIONS = ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "LINK", "UNLINK")


def create(
    *,
    action: str,
    table: str,
    object_id: Any,
    changes: Mapping[str, tuple[Any, Any]] | None,
    timestamp: datetime | None,
    session: Any,
) -> None:
    """Record a change; see ``AuditLog.create``."""
    target = _session(session)
    action = action.upper()
    if action not in _ACTIONS:
        raise OptionError.for_value("action", action, _ACTIONS)
    if _is_captured(target, table) or (action == "UPDATE" and changes == {}):
        return
    state = _state(target, action, table, object_id, changes)
    found = _table(table, state)
    known = said.of(target)
    known.say(
        target,
        Told(
            action=action,
            name=table if found is None else full_name(found),
            table=found,
            at=aware(timestamp or datetime.now(UTC)),
            object_id=object_id,
            changes=changes or {},
            state=state,
        ),
    )


def _session(session: Any) -> Session:
    if session is None:
        events = running.current()
        if events is None:
            raise OptionError(
                "AuditLog.create() is called outside of the events of a session of sessionwise; "
                "say whose transaction it belongs to: AuditLog.create(..., session=session)"
            )
        return events.session
    current = session() if hasattr(session, "registry") else session
    found: Session = getattr(current, "sync_session", current)
    return found


def _is_captured(session: Session, table: str) -> bool:
    """Say whether changes of a table are recorded anyhow."""
    along = companion.of_session(session)
    if not isinstance(along, Along):
        return False
    coverage = along.audit.coverage
    tables = coverage.metadata.tables.values()
    return any(table in said.names_of(one) and coverage.of(one) is not None for one in tables)


def _state(
    session: Session, action: str, table: str, object_id: Any, changes: Any
) -> InstanceState[Any] | None:
    """Return the object that is meant, where it is known; it must be, if it has no id yet."""
    state = inspect(object_id, raiseerr=False) if object_id is not None else None
    if isinstance(state, InstanceState):
        return state
    if isinstance(changes, NetChanges):
        return changes.state
    if object_id is not None or action == "TRUNCATE":
        return None
    return said.of(session).next_pending(session, table)


def _table(name: str, state: InstanceState[Any] | None) -> Table | None:
    """Return the table that is meant, where that is clear."""
    tables = mapped_tables() if state is None else state.mapper.tables
    found = {one for one in tables if isinstance(one, Table) and name in said.names_of(one)}
    return found.pop() if len(found) == 1 else None

"""The row of a transaction in ``audit_transaction``: one for each who is at work in it.

Whoever comes first writes it: a session's capture, a listener, or a trigger. It is shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, Text, cast, func, insert, text

from sessionwise.audit.context import current
from sessionwise.audit.recording.forms import as_json
from sessionwise.audit.tables import TRANSACTION

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sessionwise.audit.context import Actor
    from sessionwise.audit.standing import Standing

__all__ = ["Head", "head"]


@dataclass(frozen=True, slots=True)
class Head:
    """A row of ``audit_transaction``."""

    actor: Actor
    id: int


def head(connection: Connection, heads: Standing[Head], depth: int, *, has_triggers: bool) -> int:
    """Return the id of the transaction's row, for who is at work now; write it where it is new.

    :param heads: the rows that are known.
    :param depth: how many savepoints are open.
    :param has_triggers: whether triggers may have written it, and are to be told of it.
    """
    actor, known = current(), heads.last
    if known is not None and known.actor == actor:
        return known.id
    shared = _SHARED.get(connection.dialect.name) if has_triggers else None
    found = None if shared is None else connection.scalar(text(shared[0]))
    if found:
        id_ = int(found)
    else:
        id_ = _add(connection, actor)
        if shared is not None:
            connection.execute(text(shared[1]), {"id": id_})
    heads.note(Head(actor, id_), depth)
    return id_


_SHARED = {
    "postgresql": (
        "SELECT nullif(current_setting('sessionwise.audit_transaction', true), '')",
        "SELECT set_config('sessionwise.audit_transaction', "
        "CAST(CAST(:id AS bigint) AS text), true)",
    ),
    "sqlite": (
        "SELECT transaction_id FROM audit_context",
        "UPDATE audit_context SET transaction_id = :id",
    ),
    **dict.fromkeys(
        ("mysql", "mariadb"),
        ("SELECT @sessionwise_audit_transaction", "SET @sessionwise_audit_transaction = :id"),
    ),
}
"""How the id of the transaction's row is shared with triggers: what asks for it, and tells it."""


def _add(connection: Connection, actor: Actor) -> int:
    """Write the row of a connection's transaction for who is at work; return its id."""
    dialect = connection.dialect
    values: dict[str, Any] = {
        "at": datetime.now(UTC),
        "actor": actor.name,
        "reason": actor.reason,
        "request_id": actor.request_id,
        "context": dict(actor.context) or None,
    }
    if values["context"] and not isinstance(
        TRANSACTION.c.context.type.dialect_impl(dialect), JSON
    ):
        values["context"] = as_json(values["context"])
    if dialect.name == "postgresql":
        values["native_id"] = cast(func.pg_current_xact_id(), Text)
    key: Any = connection.execute(insert(TRANSACTION).values(values)).inserted_primary_key
    return int(key[0])

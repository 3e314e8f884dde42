"""The row of a transaction in ``audit_transaction``, where no trigger makes it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, Text, cast, func, insert

from sessionwise.audit.recording.forms import as_json
from sessionwise.audit.tables import TRANSACTION

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sessionwise.audit.context import Actor

__all__ = ["add"]


def add(connection: Connection, actor: Actor) -> int:
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

"""Writes ``audit_log`` and what belongs to it, in the transaction of the change."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, bindparam, func, insert, select, text, tuple_

from sessionwise.audit import transactions
from sessionwise.audit.context import current
from sessionwise.audit.recording.forms import as_json, text_of
from sessionwise.audit.recording.work import Head
from sessionwise.audit.tables import LOG, SALT
from sessionwise.loading.keys import chunks
from sessionwise.transaction import activity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import Connection, Dialect, Insert

    from sessionwise.audit.recording.changes import Record
    from sessionwise.audit.recording.forms import Row
    from sessionwise.audit.recording.work import Work

__all__ = ["write"]


def write(connection: Connection, work: Work, records: Iterable[Record]) -> None:
    """Write what has changed: one INSERT, and one for the transaction's row where that is new."""
    rows = _Rows(connection)
    redacted: list[Record] = []
    for one in records:
        if one.redacted:
            redacted.append(one)
        else:
            rows.add(one)
    for one in _redact(connection, redacted):
        rows.add(one)
    if rows.said:
        rows.write(_head(connection, work))


class _Rows:
    """Rows of ``audit_log``, as they are sent."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.said: list[Any] = []
        dialect = connection.dialect
        self.add = self._add_to_text if dialect.name == "postgresql" else self._add
        self._form = _form(dialect)
        now = datetime.now(UTC)
        self._now = now if self._form.moment is None else self._form.moment(now)

    def _add(self, one: Record) -> None:
        old, new = one.old, one.new
        self.said.append(
            (
                one.action,
                one.table,
                one.object_id,
                one.previous_id,
                None if old is None else as_json(old),
                None if new is None else as_json(new),
                one.version,
            )
        )

    def _add_to_text(self, one: Record) -> None:
        """Add a row as JSON: PostgreSQL takes it apart faster than a driver puts it together."""
        self.said.append(
            as_json(
                {
                    "action": one.action,
                    "table": one.table,
                    "object_id": one.object_id,
                    "previous_id": one.previous_id,
                    "old": one.old,
                    "new": one.new,
                    "version": one.version,
                }
            )
        )

    def write(self, head: int) -> None:
        """Send the rows."""
        if self.connection.dialect.name == "postgresql":
            said = f"[{','.join(self.said)}]"
            parameters = {"head": head, "at": datetime.now(UTC), "rows": said}
            self.connection.execute(_INSERT_AT_ONCE, parameters)
            return
        # As the driver takes them: SQLAlchemy would look at each value of each.
        names = self._form.names
        first = (head, self._now)
        rows: list[Any] = [first + row for row in self.said]
        if names is not None:
            rows = [dict(zip(names, row, strict=True)) for row in rows]
        self.connection.exec_driver_sql(self._form.sql, rows)


_COLUMNS = tuple(one for one in LOG.columns if not one.primary_key)


@dataclass(frozen=True)
class _Form:
    """How rows are sent in one kind of database."""

    sql: str
    names: list[str] | None
    """The names of the parameters; None where they have but places."""
    moment: Callable[[Any], Any] | None
    """What makes of a time what the driver takes."""


_ATTRIBUTE = "_sessionwise_audit_form"


def _form(dialect: Dialect) -> _Form:
    """Return how rows are sent; the dialect, which is an engine's own, keeps it."""
    known: _Form | None = dialect.__dict__.get(_ATTRIBUTE)
    if known is None:
        names = [one.name for one in _COLUMNS]
        compiled: Any = insert(LOG).compile(dialect=dialect, column_keys=names)
        named = [compiled.escaped_bind_names.get(name, name) for name in names]
        moment = LOG.c.at.type.dialect_impl(dialect).bind_processor(dialect)
        known = _Form(compiled.string, None if compiled.positional else named, moment)
        dialect.__dict__[_ATTRIBUTE] = known
    return known


_INSERT_AT_ONCE = text(
    """
INSERT INTO audit_log (transaction_id, at, action, "table", object_id, previous_id, old, new,
                       schema_version)
SELECT :head, :at, action, "table", object_id, previous_id, old, new, version
FROM ROWS FROM (
    jsonb_to_recordset(CAST(:rows AS jsonb)) AS (
        action text, "table" text, object_id text, previous_id text, old jsonb, new jsonb,
        version text
    )
) WITH ORDINALITY AS r (action, "table", object_id, previous_id, old, new, version, position)
ORDER BY position
"""
).bindparams(bindparam("at", type_=LOG.c.at.type), bindparam("head", type_=LOG.c.id.type))


def _head(connection: Connection, work: Work) -> int:
    """Return the id of the transaction's row, for who is at work now."""
    actor = current()
    if work.heads and work.heads[-1].actor == actor:
        return work.heads[-1].id
    shared = _SHARED.get(connection.dialect.name) if _has_triggers(work) else None
    found = None if shared is None else connection.scalar(text(shared[0]))
    if found:
        id_ = int(found)
    else:
        id_ = transactions.add(connection, actor)
        if shared is not None:
            connection.execute(text(shared[1]), {"id": id_})
    work.heads.append(Head(activity.of(connection).depth, actor, id_))
    return id_


def _has_triggers(work: Work) -> bool:
    return work.captures is not None and bool(work.captures.triggers)


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


def _redact(connection: Connection, records: Sequence[Record]) -> Sequence[Record]:
    """Put salted hashes in the place of values that are not to be stored."""
    if records:
        salts = _salts(connection, dict.fromkeys((one.table, one.object_id) for one in records))
        for one in records:
            salt = salts[one.table, one.object_id]
            one.old = _hashed(one.old, one.redacted, salt)
            one.new = _hashed(one.new, one.redacted, salt)
    return records


def _hashed(row: Row | None, redacted: Iterable[str], salt: bytes) -> Row | None:
    if row is None:
        return None
    hashed = {
        name: {"sha256": hashlib.sha256(salt + text_of(row[name]).encode()).hexdigest()}
        for name in redacted
        if row.get(name) is not None
    }
    return {**row, **hashed}


_SaltKey = tuple[str, str]


def _salts(connection: Connection, wanted: Iterable[_SaltKey]) -> dict[_SaltKey, bytes]:
    """Return the salts of some objects; those that have none yet get one."""
    found: dict[_SaltKey, bytes] = {}
    known = select(SALT.c.table, SALT.c.object_id, SALT.c.salt)
    key = tuple_(SALT.c.table, SALT.c.object_id)
    for chunk in chunks(wanted):
        for table, object_id, salt in connection.execute(known.where(key.in_(chunk))):
            found[table, object_id] = bytes(salt)
        made = {one: secrets.token_bytes(32) for one in chunk if one not in found}
        if made:
            by_hex = connection.dialect.name in _MYSQL
            rows = [
                {"table": table, "object_id": object_id, "salt": salt.hex() if by_hex else salt}
                for (table, object_id), salt in made.items()
            ]
            connection.execute(_insert_salts(connection.dialect.name), rows)
        found |= made
    return found


_MYSQL = frozenset({"mysql", "mariadb"})


@lru_cache
def _insert_salts(dialect: str) -> Insert:
    if dialect not in _MYSQL:
        return insert(SALT)
    # Not every driver of MariaDB's takes bytes.
    return insert(SALT).values(salt=func.unhex(bindparam("salt", type_=Text())))

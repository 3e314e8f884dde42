"""What stands in the audit's tables, read in the order of ``id``; no model is needed for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - a dataclass has it
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from sqlalchemy import String, inspect, or_, select, type_coerce

from sessionwise.audit.asking.change import Change
from sessionwise.audit.asking.decode import aware, loads
from sessionwise.audit.tables import LOG, TRANSACTION
from sessionwise.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy import ColumnElement, Connection, Engine, RowMapping

__all__ = ["PAGE", "Wanted", "check_tables", "latest", "life_of", "page"]

PAGE = 500
"""How many changes are read at a time."""

_SELECT = select(
    *LOG.columns,
    TRANSACTION.c.actor,
    TRANSACTION.c.reason,
    TRANSACTION.c.request_id,
    TRANSACTION.c.context,
).select_from(LOG.outerjoin(TRANSACTION, LOG.c.transaction_id == TRANSACTION.c.id))

_SEEN: WeakSet[Engine] = WeakSet()
"""Engines whose database is known to have the tables."""


@dataclass(frozen=True)
class Wanted:
    """Which changes are asked for; None asks for any."""

    since: datetime | None = None
    """From this moment on."""
    until: datetime | None = None
    """Before this moment."""
    actor: str | None = None
    tables: Collection[str] | None = None
    transaction: int | None = None

    def criteria(self, dialect: str) -> Iterator[ColumnElement[bool]]:
        """Give the criteria of a SELECT."""
        at: Any = LOG.c.at
        if dialect == "sqlite":  # texts, of milliseconds by triggers and microseconds by sessions
            at = type_coerce(at, String)
        if self.since is not None:
            yield at >= _bound(self.since, dialect)
        if self.until is not None:
            yield at < _bound(self.until, dialect)
        if self.actor is not None:
            yield TRANSACTION.c.actor == self.actor
        if self.tables is not None:
            yield LOG.c.table.in_(sorted(self.tables))
        if self.transaction is not None:
            yield LOG.c.transaction_id == self.transaction


def check_tables(connection: Connection) -> None:
    """See to it that the database has the audit's tables.

    :raises AuditError: where it has not.
    """
    if connection.engine in _SEEN:
        return
    if not inspect(connection).has_table(LOG.name):
        raise AuditError.without_tables(connection.engine.url.database)
    _SEEN.add(connection.engine)


def page(connection: Connection, wanted: Wanted, *, after: int, size: int) -> list[Change]:
    """Return the first changes whose ids are higher than one."""
    criteria = (LOG.c.id > after, *wanted.criteria(connection.dialect.name))
    query = _SELECT.where(*criteria).order_by(LOG.c.id).limit(size)
    return [_change(row) for row in connection.execute(query).mappings()]


def latest(connection: Connection, wanted: Wanted, limit: int) -> list[Change]:
    """Return the last changes, oldest first."""
    query = _SELECT.where(*wanted.criteria(connection.dialect.name))
    found = connection.execute(query.order_by(LOG.c.id.desc()).limit(limit)).mappings()
    return [_change(row) for row in found][::-1]


def life_of(connection: Connection, table: str, key: str) -> list[Change]:
    """Return what has become of a row, oldest first; also under the keys that it had before.

    It is the life of a key: of a row that was deleted and inserted anew, both lives are given,
    and where a row has got another key, that is the last that is told of it.

    :param key: the ``object_id``.
    """
    found: list[Change] = []
    asked: str | None = key
    while asked is not None:
        before = found[-1].id if found else None
        key, asked = asked, None
        for change in _with_key(connection, table, key, before):
            found.append(change)
            if change.previous_id is not None and change.object_id == key:
                asked = change.previous_id
                break
    return found[::-1]


def _with_key(
    connection: Connection, table: str, key: str, before: int | None
) -> Iterator[Change]:
    """Give the changes of a row while it had a key, and those that gave or took it; last first."""
    of_key = or_(LOG.c.object_id == key, LOG.c.previous_id == key)
    query = _SELECT.where(LOG.c.table == table, of_key).order_by(LOG.c.id.desc())
    if before is not None:
        query = query.where(LOG.c.id < before)
    return map(_change, connection.execute(query).mappings().all())


def _bound(moment: datetime, dialect: str) -> Any:
    """Return a moment as it is compared: in UTC, which one without a zone is taken to be in."""
    bound: datetime = aware(moment)
    if dialect == "postgresql":
        return bound
    naive = bound.replace(tzinfo=None)
    if dialect == "sqlite":
        return naive.isoformat(" ", "microseconds").rstrip("0").rstrip(".")
    return naive


def _change(recorded: RowMapping) -> Change:
    return Change(
        id=recorded[LOG.c.id],
        at=aware(recorded[LOG.c.at]),
        action=recorded[LOG.c.action],
        table=recorded[LOG.c.table],
        object_id=recorded[LOG.c.object_id],
        previous_id=recorded[LOG.c.previous_id],
        old=loads(recorded[LOG.c.old]),
        new=loads(recorded[LOG.c.new]),
        transaction_id=recorded[LOG.c.transaction_id],
        actor=recorded[TRANSACTION.c.actor],
        reason=recorded[TRANSACTION.c.reason],
        request_id=recorded[TRANSACTION.c.request_id],
        context=loads(recorded[TRANSACTION.c.context]) or {},
        schema_version=recorded[LOG.c.schema_version],
    )

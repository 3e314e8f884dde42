"""Writes a base line: a record of each row that was there before the audit was.

It goes through each table in the order of its primary key, some thousand rows at a time. With an
engine each of these batches is a transaction: nobody waits long, and what is done is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import CursorResult, Table, bindparam, func, insert, literal, select, text, tuple_

from sessionwise.audit.context import current
from sessionwise.audit.tables import METADATA, TRANSACTION
from sessionwise.audit.triggers.install import begin, bodies_for, connected, send

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import BindParameter, ColumnElement, Connection, Engine

    from sessionwise.audit.coverage import Coverage, Covered

__all__ = ["BATCH", "backfill"]

BATCH = 10_000
"""How many rows are recorded at a time."""

_REASON = "backfill"

_NOW: dict[str, ColumnElement[Any]] = {
    "postgresql": func.clock_timestamp(),
    "sqlite": func.strftime("%Y-%m-%d %H:%M:%f000", "now"),
    "mysql": func.utc_timestamp(text("6")),
    "mariadb": func.utc_timestamp(text("6")),
}


def backfill(bind: Engine | Connection, coverage: Coverage) -> dict[str, int]:
    """Record the rows that have no record yet, and count them by table."""
    coverage.check()
    with connected(bind) as connection:
        _prepare(connection, coverage)
    return {covered.name: _table(bind, covered) for covered in coverage}


def _prepare(connection: Connection, coverage: Coverage) -> None:
    """Make what the records are written with, where it is missing."""
    begin(connection)
    METADATA.create_all(connection)
    bodies = bodies_for(connection.dialect.name)
    present = bodies.present(connection, coverage)
    for artifact in bodies.shared(coverage):
        if artifact.key not in present:
            send(connection, artifact.create)


def _table(bind: Engine | Connection, covered: Covered) -> int:
    count, after, is_last = 0, None, False
    while not is_last:
        with connected(bind) as connection:
            begin(connection)
            upto = _end(connection, covered, after)
            count += _batch(connection, covered, after, upto)
        after, is_last = upto, upto is None
    return count


def _end(connection: Connection, covered: Covered, after: Any) -> Any:
    """Return the key of the last row of a batch; None: all that is left is the batch."""
    table: Table = covered.table
    if not table.primary_key.columns:  # a link, whose keys may be NULL: they have no order
        return None
    rows = select(*covered.key).order_by(*covered.key).offset(BATCH - 1).limit(1)
    if after is not None:
        bound = (literal(value, c.type) for value, c in zip(after, covered.key, strict=True))
        rows = rows.where(tuple_(*covered.key) > tuple_(*bound))
    return connection.execute(rows).one_or_none()


def _batch(connection: Connection, covered: Covered, after: Any, upto: Any) -> int:
    bodies = bodies_for(connection.dialect.name)
    send(connection, bodies.before_backfill(covered))
    transaction_id = _write_transaction(connection)
    statement = bodies.backfill(covered)
    parameters: list[BindParameter[Any]] = []
    for operator, name, key in ((">", "after", after), ("<=", "upto", upto)):
        if key is not None:
            bound = _parameters(covered, name, key)
            statement += f" AND {_comparison(connection, covered, operator, bound)}"
            parameters += bound
    recorded = text(statement).bindparams(*parameters)
    result = connection.execute(recorded, {"transaction_id": transaction_id})
    count = cast("CursorResult[Any]", result).rowcount
    if not count:
        connection.execute(TRANSACTION.delete().where(TRANSACTION.c.id == transaction_id))
    send(connection, bodies.after_backfill(covered))
    return count


def _write_transaction(connection: Connection) -> int:
    """Write the row of the transaction, and return its id."""
    actor, dialect = current(), connection.dialect.name
    native = func.pg_current_xact_id().op("::")(text("text")) if dialect == "postgresql" else None
    result = connection.execute(
        insert(TRANSACTION).values(
            native_id=native,
            at=_NOW[dialect],
            actor=actor.name,
            reason=_REASON,
            request_id=actor.request_id,
            context=dict(actor.context) or None,
        )
    )
    key = result.inserted_primary_key
    assert key is not None  # noqa: S101 - one row has been inserted
    return cast("int", key[0])


def _parameters(covered: Covered, name: str, key: Iterable[Any]) -> list[BindParameter[Any]]:
    return [
        bindparam(f"{name}{number}", value, type_=column.type)
        for number, (value, column) in enumerate(zip(key, covered.key, strict=True))
    ]


def _comparison(
    connection: Connection, covered: Covered, operator: str, bound: Iterable[BindParameter[Any]]
) -> str:
    quote = connection.dialect.identifier_preparer.quote_identifier
    columns = ", ".join(f"r.{quote(column.name)}" for column in covered.key)
    values = ", ".join(f":{one.key}" for one in bound)
    return f"({columns}) {operator} ({values})"

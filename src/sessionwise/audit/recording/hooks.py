"""What SQLAlchemy keeps to itself about statements as they are carried out: all is used here."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Column

__all__ = ["after", "made_keys", "returned_keys", "returning", "returns", "stand_in"]


def after(
    context: Any, done: Callable[[list[Any]], None], read: Callable[[], list[Any]] | None = None
) -> None:
    """Call a function when a statement has been carried out, and the keys of new rows are known.

    ``post_exec``, which is public, comes before the keys.

    :param read: what gives the keys that are returned to the caller, too.
    """
    set_up = context._setup_result_proxy

    def set_up_and_tell() -> Any:
        del context._setup_result_proxy
        keys = [] if read is None else read()
        result = set_up()
        done(keys)
        return result

    context._setup_result_proxy = set_up_and_tell


def made_keys(context: Any) -> list[Any]:
    """Return the keys of new rows, when they are known."""
    return [tuple(one) for one in context.inserted_primary_key_rows]


def returns(context: Any) -> bool:
    """Say whether the statement has a RETURNING of its caller's."""
    explicit: bool = context._is_explicit_returning
    return explicit


def returning(context: Any, key: Sequence[Column[Any]]) -> Any:
    """Return the statement that is being sent, made to return the keys of its rows."""
    statement = context.invoked_statement.returning(*key)
    # A copy of what SQLAlchemy has found out about the one without RETURNING.
    statement.__dict__.pop("_all_selected_columns", None)
    return statement


def stand_in(context: Any, rows: int) -> None:
    """Say how many rows were written, where another statement was sent in place of this one."""
    context._rowcount = rows


def returned_keys(context: Any, key: Sequence[Column[Any]]) -> Callable[[], list[Any]] | None:
    """Return what gives the keys that a RETURNING gives, when it has been carried out.

    The rows stay there for whoever has asked for them. None: not all of the key is returned.
    """
    returning = context.compiled.effective_returning or ()
    at = [_position(returning, one) for one in key]
    if None in at:
        return None
    dialect = context.dialect
    processors = [one.type.dialect_impl(dialect).result_processor(dialect, None) for one in key]

    def read() -> list[Any]:
        rows = context._insertmanyvalues_rows
        if rows is None:
            rows = context.cursor.fetchall()
            context.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(
                context.cursor, context.cursor.description, deque(rows)
            )
        return [
            tuple(
                row[n] if process is None else process(row[n])
                for n, process in zip(at, processors, strict=True)
            )
            for row in rows
        ]

    return read


def _position(returning: Sequence[Any], column: Column[Any]) -> int | None:
    for at, one in enumerate(returning):
        element = getattr(one, "element", one)
        table = getattr(element, "table", None)
        if getattr(element, "name", None) == column.name and (
            getattr(table, "key", None) == column.table.key
        ):
            return at
    return None

"""Batched loading: what is loaded for one object is loaded for those around it as well.

SQLAlchemy loads expired and deferred columns, and lazy relationships, by statements that go
through ``Session.execute``. Here they are answered for many objects at a time; what is not
recognized goes its way as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData

from sessionwise.loading import expired, lazy
from sessionwise.loading.internals import ColumnLoad, LazyLoad
from sessionwise.sql.internals import is_flushing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Result
    from sqlalchemy.orm import Session

    from sessionwise.loading.siblings import Siblings

__all__ = ["answer"]


def answer(
    session: Session,
    siblings: Siblings,
    execute: Callable[..., Result[Any]],
    wanted: ColumnLoad | LazyLoad,
) -> Result[Any] | None:
    """Answer a statement by which SQLAlchemy loads something for one object.

    :param execute: SQLAlchemy's ``execute`` of the session.
    :returns: the objects as that would; None where it is to do so itself.
    """
    if wanted.state.key is None or is_flushing(session):
        return None
    if isinstance(wanted, ColumnLoad):
        found = expired.load(session, siblings, wanted)
    else:
        found = lazy.load(session, siblings, execute, wanted)
    return None if found is None else _result(found)


def _result(instances: Iterable[object]) -> Result[Any]:
    rows = ((instance,) for instance in instances)
    # Told apart as SQLAlchemy tells objects apart, whatever their classes make of ``==``.
    columns = SimpleResultMetaData(["instance"], _create_unique_filters=lambda _: [id])
    return IteratorResult(columns, rows)

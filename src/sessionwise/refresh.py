"""Technique 6: the newest rows of many objects, for a handful of statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from sqlalchemy import inspect
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm.exc import UnmappedInstanceError

from sessionwise.errors import MissingRowsError, OptionError, StaleSnapshotWarning
from sessionwise.loading import internals, keys, rows
from sessionwise.transaction import activity
from sessionwise.transaction import internals as transactions
from sessionwise.transaction.callsite import warn_caller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sqlalchemy.orm import InstanceState, Session

__all__ = ["Missing", "refresh", "refresh_many"]

T = TypeVar("T")

Missing = Literal["raise", "expunge"]
"""What becomes of an object whose row is gone."""

_WARNED = "_sessionwise_stale_snapshot"


def refresh(
    session: Session,
    plain: Callable[..., None],
    instance: object,
    attribute_names: Iterable[str] | None,
    with_for_update: Any,
) -> None:
    """Refresh one object, and say so where its row may be an old one.

    :param plain: SQLAlchemy's ``refresh``.
    """
    if not with_for_update:
        _warn_of_snapshot(session, [instance])
    plain(instance, attribute_names, with_for_update)


def refresh_many(
    session: Session,
    instances: Iterable[T],
    attribute_names: Iterable[str] | None = None,
    *,
    with_for_update: bool | Mapping[str, Any] | None = None,
    missing: Missing = "raise",
) -> list[T]:
    """Read the rows of many objects anew, as ``refresh()`` does for one: a SELECT for 500.

    Changes to the attributes in question that were not flushed are given up, as in ``refresh()``.

    :param instances: persistent objects of the session; one may come twice.
    :param attribute_names: what to refresh, relationships included; None: all columns, and what
      was loaded eagerly.
    :param with_for_update: lock the rows: True, or the parameters of ``with_for_update()``.
    :param missing: for objects whose row is gone, ``"raise"``, or ``"expunge"`` them.
    :returns: the objects that have a row, in the order given.
    :raises MissingRowsError: for ``missing="raise"``, with the keys; the others are refreshed.
    :raises InvalidRequestError: for an object that is not persistent in this session.
    :raises OptionError: for another value of ``missing``.
    """
    if missing not in get_args(Missing):
        raise OptionError.for_value("missing", missing, get_args(Missing))
    objects = list({id(instance): instance for instance in instances}.values())
    states = {_persistent(session, instance): instance for instance in objects}
    names = None if attribute_names is None else list(attribute_names)
    if not with_for_update:
        _warn_of_snapshot(session, objects)
    for instance in objects:
        session.expire(instance, names)
    if session.autoflush:
        session.flush()
    found = set(rows.load_again(session, states, names, with_for_update=with_for_update))
    gone = _gone(session, [state for state in states if state not in found], names)
    if gone and missing == "raise":
        raise MissingRowsError.of(gone[0].class_, [internals.key_of(state)[1] for state in gone])
    for state in gone:
        session.expunge(states[state])
    return [instance for state, instance in states.items() if state not in set(gone)]


def _persistent(session: Session, instance: object) -> InstanceState[Any]:
    state: InstanceState[Any] | None = inspect(instance, raiseerr=False)
    if state is None or not hasattr(state, "session_id"):
        raise UnmappedInstanceError(instance)
    if state.session is not session or not state.persistent:
        raise InvalidRequestError(
            f"{type(instance).__name__} object is not persistent in this session: add it and "
            "flush, or get it from this session, before it is refreshed"
        )
    return state


def _gone(
    session: Session, in_doubt: list[InstanceState[Any]], names: list[str] | None
) -> list[InstanceState[Any]]:
    """Find out which objects that no row came for have none; criteria may only have hidden it."""
    gone: list[InstanceState[Any]] = []
    for mapper in {state.mapper for state in in_doubt}:
        group = [state for state in in_doubt if state.mapper is mapper]
        there = keys.existing(session, mapper, [internals.key_of(state)[1] for state in group])
        for state in group:
            if internals.key_of(state)[1] in there:
                session.refresh(state.obj(), names)
            else:
                gone.append(state)
    return gone


def _warn_of_snapshot(session: Session, instances: Iterable[object]) -> None:
    """Warn, once in a unit of work, where the transaction goes on reading an old state."""
    root = session.get_transaction()
    if root is None or _WARNED in root.__dict__:
        return
    mappers = {inspect(instance, raiseerr=True).mapper for instance in instances}
    engines = {session.get_bind(mapper).engine for mapper in mappers}
    for connection in transactions.connections(root):
        if connection.engine not in engines:
            continue
        seen = activity.of(connection)
        if seen.statements and (isolation := seen.traits.snapshot(connection, seen.writes)):
            root.__dict__[_WARNED] = True
            warn_caller(StaleSnapshotWarning.at(isolation))
            return

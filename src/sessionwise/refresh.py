"""Technique 6: the newest rows of many objects, for a handful of statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import RelationshipDirection

from sessionwise.errors import MissingRowsError, OptionError, StaleSnapshotWarning
from sessionwise.loading import internals, keys, rows
from sessionwise.transaction import activity
from sessionwise.transaction import internals as transactions
from sessionwise.transaction.callsite import warn_caller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sqlalchemy.orm import InstanceState, Mapper, Session

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
    _warn_of_snapshot(session, [instance], locking=bool(with_for_update))
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
    :returns: the objects that have a row, in the order given, one that came twice twice.
    :raises MissingRowsError: for ``missing="raise"``, with the keys; the others are refreshed.
    :raises InvalidRequestError: for an object that is not persistent in this session.
    :raises OptionError: for another value of ``missing``.
    """
    if missing not in get_args(Missing):
        raise OptionError.for_value("missing", missing, get_args(Missing))
    keys.check_lock(with_for_update)
    given = list(instances)
    states = {_persistent(session, instance): instance for instance in given}
    names = None if attribute_names is None else list(attribute_names)
    wanted = {mapper: _names(mapper, names) for mapper in {state.mapper for state in states}}
    _warn_of_snapshot(session, states.values(), locking=bool(with_for_update))
    for state, instance in states.items():
        session.expire(instance, _given_up(state, names, wanted[state.mapper]))
    if session.autoflush:
        session.flush()
    gone: list[InstanceState[Any]] = []
    for mapper, its_names in wanted.items():
        group = [state for state in states if state.mapper is mapper]
        how: dict[str, Any] = {"names": its_names, "with_for_update": with_for_update}
        found = set(rows.load_again(session, group, **how))
        in_doubt = [state for state in group if state not in found]
        gone += rows.missing(session, in_doubt, **how)
    if gone and missing == "raise":
        raise MissingRowsError.of(gone[0].class_, [internals.key_of(state)[1] for state in gone])
    for state in gone:
        session.expunge(states[state])
    without_row = {id(states[state]) for state in gone}
    return [instance for instance in given if id(instance) not in without_row]


def _persistent(session: Session, instance: object) -> InstanceState[Any]:
    state = internals.checked_state(instance)
    if state.session is not session or not state.persistent:
        raise InvalidRequestError(
            f"{type(instance).__name__} object is not persistent in this session: add it and "
            "flush, or get it from this session, before it is refreshed"
        )
    return state


def _names(mapper: Mapper[Any], names: list[str] | None) -> list[str] | None:
    """Return what to load for some attributes: for a many-to-one, its foreign key as well.

    :raises InvalidRequestError: for a name that is no column and no relationship.
    """
    if names is None:
        return None
    wanted = dict.fromkeys(names)
    for name in names:
        if name in mapper.relationships:
            relationship = mapper.relationships[name]
            if relationship.direction is RelationshipDirection.MANYTOONE:
                columns = map(mapper.get_property_by_column, relationship.local_columns)
                wanted |= dict.fromkeys(column.key for column in columns)
        elif name not in mapper.column_attrs:
            raise InvalidRequestError(
                f"{mapper.class_.__name__} has no column or relationship {name!r} to refresh"
            )
    return list(wanted)


def _given_up(
    state: InstanceState[Any], named: list[str] | None, wanted: list[str] | None
) -> list[str] | None:
    """Return what to expire of an object: a foreign key that was changed here is not named."""
    if named is None or wanted is None:
        return None
    return [name for name in wanted if name in named or name not in state.committed_state]


def _warn_of_snapshot(session: Session, instances: Iterable[object], *, locking: bool) -> None:
    """Warn, once in a unit of work, where the transaction goes on reading an old state."""
    root = session.get_transaction()
    if root is None or _WARNED in root.__dict__:
        return
    states = map(internals.state_or_none, instances)
    mappers = {state.mapper for state in states if state is not None}
    engines = {session.get_bind(mapper).engine for mapper in mappers}
    for connection in transactions.connections(root):
        if connection.engine not in engines:
            continue
        seen = activity.of(connection)
        if not seen.statements or (locking and seen.traits.locks_rows):
            continue
        if isolation := seen.traits.snapshot(connection, seen.writes):
            root.__dict__[_WARNED] = True
            warn_caller(StaleSnapshotWarning.at(isolation, seen.traits.sees_the_newest))
            return

"""``get_changes``: what a flush would change in the row of an object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, inspect, select
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import InstanceState, RelationshipDirection
from sqlalchemy.sql import ClauseElement

from sessionwise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy.orm import Mapper, RelationshipProperty

__all__ = ["NetChanges", "get_changes", "read_row"]

_UNKNOWN: Any = object()


class NetChanges(dict[str, tuple[Any, Any]]):
    """The changes of an object by attribute, each value before and after."""

    def __init__(self, state: InstanceState[Any]) -> None:
        super().__init__()
        self.state = state
        self.waiting: set[str] = set()
        """Attributes whose value after is known when the flush is over."""


def get_changes(obj: object) -> dict[str, tuple[Any, Any]]:
    """Return what a flush would change in the row of an object: ``{attribute: (old, new)}``.

    An old value that was never loaded is read from the database, all of them by one SELECT. What
    is set back to what it was is no change. What a many-to-one relationship makes of its foreign
    keys is told by their attributes.

    :raises OptionError: for what is no mapped object.
    """
    try:
        state = inspect(obj)
    except NoInspectionAvailable:
        state = None
    if not isinstance(state, InstanceState):
        raise OptionError(f"get_changes() has {obj!r}, which is no mapped object; give one")
    found = NetChanges(state)
    for name, before, after in (*_of_columns(state), *_of_references(state)):
        is_known = after is not _UNKNOWN and not isinstance(after, ClauseElement)
        found[name] = before, None if after is _UNKNOWN else after
        found.waiting.discard(name)
        if not is_known:
            found.waiting.add(name)
    _read_old(found)
    for name, (before, after) in list(found.items()):
        if name not in found.waiting and _is_same(before, after) and state.persistent:
            del found[name]
    return found


def _of_columns(state: InstanceState[Any]) -> Iterator[tuple[str, Any, Any]]:
    for attribute in state.mapper.column_attrs:
        if not isinstance(attribute.columns[0], Column):
            continue
        history = state.attrs[attribute.key].history
        if history.added or history.deleted:
            before = history.deleted[0] if history.deleted else _UNKNOWN
            yield attribute.key, before, history.added[0] if history.added else None


def _of_references(state: InstanceState[Any]) -> Iterator[tuple[str, Any, Any]]:
    """Give the foreign keys that follow from many-to-one relationships that have changed."""
    for relationship in state.mapper.relationships:
        if relationship.direction is not RelationshipDirection.MANYTOONE or relationship.viewonly:
            continue
        history = state.attrs[relationship.key].history
        if history.added or history.deleted:
            referred = history.added[0] if history.added else None
            yield from _foreign_keys(state, relationship, referred)


def _foreign_keys(
    state: InstanceState[Any], relationship: RelationshipProperty[Any], referred: Any
) -> Iterator[tuple[str, Any, Any]]:
    for local, remote in relationship.local_remote_pairs or ():
        name = state.mapper.get_property_by_column(local).key
        committed = state.attrs[name].history
        known = committed.deleted or committed.unchanged
        yield name, known[0] if known else _UNKNOWN, _key_of(referred, remote)


def _key_of(referred: Any, column: Any) -> Any:
    """Return a column of an object that is referred to; one that is not stored has none yet."""
    if referred is None:
        return None
    state = inspect(referred)
    value = getattr(referred, state.mapper.get_property_by_column(column).key)
    return _UNKNOWN if value is None and not state.persistent else value


def _read_old(found: NetChanges) -> None:
    unknown = [name for name, (before, _) in found.items() if before is _UNKNOWN]
    if not unknown:
        return
    state = found.state
    row = dict.fromkeys(unknown) if state.identity is None else read_row(state, unknown)
    for name in unknown:
        found[name] = row[name], found[name][1]


def read_row(state: InstanceState[Any], names: Iterable[str]) -> dict[str, Any]:
    """Read attributes of an object from its row, without a flush; None where it has none."""
    mapper, session = state.mapper, state.session
    if session is None:
        raise OptionError(
            f"{state.object!r} is in no session, so what it was cannot be read; add() it first"
        )
    wanted = list(names)
    query = (
        select(*(mapper.column_attrs[name].columns[0] for name in wanted))
        .select_from(mapper.persist_selectable)
        .where(*_is_row(mapper, state))
    )
    connection = session.connection(bind_arguments={"mapper": mapper})
    row = connection.execute(query).one_or_none()
    return dict.fromkeys(wanted) if row is None else dict(zip(wanted, row, strict=True))


def _is_row(mapper: Mapper[Any], state: InstanceState[Any]) -> Iterator[Any]:
    identity = state.identity or mapper.primary_key_from_instance(state.object)
    for column, value in zip(mapper.primary_key, identity, strict=True):
        yield column == value


def _is_same(before: Any, after: Any) -> bool:
    return type(before) is type(after) and bool(before == after)

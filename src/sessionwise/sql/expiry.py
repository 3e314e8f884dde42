"""Expiry: what a statement may have changed is read anew where it is next used.

Changes that are not flushed yet are kept. What they were made from is forgotten, though: the flush
then sends them whatever the row has now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy.orm import LoaderCallableStatus

from sessionwise.sql import cascades, internals
from sessionwise.sql.mapped import sources_of

if TYPE_CHECKING:
    from sqlalchemy.orm import InstanceState, Mapper, Session

    from sessionwise.sql.mapped import Sources
    from sessionwise.sql.touched import Touched

__all__ = ["after_flush", "expire"]

_DEFERRED = "_sessionwise_expire_after_flush"
"""Where a session holds what was written in a flush by others than the flush."""

_MERGED = "_sessionwise_merged_collections"
"""Where it holds collections that have changes of the session's own and of others."""


def expire(session: Session, written: Touched, *, synchronized: bool = False) -> None:
    """Expire what a statement may have changed among the objects of a session.

    In a flush, whose objects are not to be touched, that is done at its end.

    :param synchronized: SQLAlchemy sees to the columns of the tables that the statement names.
    """
    if internals.is_flushing(session):
        deferred: list[Touched] = session.__dict__.setdefault(_DEFERRED, [])
        deferred.append(written)
        return
    affected: dict[Mapper[Any], frozenset[str]] = {}
    for state in session.identity_map.all_states():
        mapper = state.mapper
        names = affected.get(mapper)
        if names is None:
            names = affected[mapper] = _affected(sources_of(mapper), written, synchronized)
        if names:
            _expire_some(session, state, names)


def after_flush(session: Session) -> None:
    """Do what had to wait for the end of a flush."""
    for state, names in session.__dict__.pop(_MERGED, {}).items():
        if session.identity_map.contains_state(state):
            _expire_some(session, state, names)
    for written in session.__dict__.pop(_DEFERRED, ()):
        expire(session, written)


def _affected(sources: Sources, written: Touched, synchronized: bool) -> frozenset[str]:
    """Return the attributes of a class that a statement may have changed."""
    if written.is_opaque:
        return sources.columns.union(sources.others)
    named = written.updates | written.deletes
    changed = frozenset[str]() if synchronized else named
    for metadata in sources.metadata:
        changed |= cascades.follow(metadata, written.updates, written.deletes)
    moved = changed | named | written.inserts
    names = frozenset(key for key, tables in sources.others.items() if moved & tables)
    return names if sources.tables.isdisjoint(changed) else names | sources.columns


def _expire_some(session: Session, state: InstanceState[Any], names: frozenset[str]) -> None:
    instance = state.obj()
    if instance is None:
        return
    loaded = names.intersection(state.dict)
    changed = loaded.intersection(state.committed_state)
    if changed:
        changed = frozenset(name for name in changed if state.attrs[name].history.has_changes())
    if changed:
        _keep(session, state, changed)
        loaded -= changed | _version(state.mapper)  # that is what the changes were made from
    if loaded:
        session.expire(instance, loaded)
        if not state.committed_state and not names.isdisjoint(sources_of(state.mapper).columns):
            state.expired = True  # so that get() looks whether there still is a row


def _keep(session: Session, state: InstanceState[Any], changed: frozenset[str]) -> None:
    """Keep changes that are not flushed: they are to be written whatever the row has now."""
    columns = sources_of(state.mapper).columns
    for name in columns & changed - _version(state.mapper):
        state.committed_state[name] = LoaderCallableStatus.NO_VALUE
    collections = changed - columns
    if collections:
        merged = session.__dict__.setdefault(_MERGED, WeakKeyDictionary())
        merged[state] = merged.get(state, frozenset()) | collections


def _version(mapper: Mapper[Any]) -> set[str]:
    column = mapper.version_id_col
    return set() if column is None else {mapper.get_property_by_column(column).key}

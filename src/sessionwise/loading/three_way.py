"""Merging three ways: what an object was, what it is, and what its row is now."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, JSON, ClauseElement, Column, PickleType
from sqlalchemy.orm import LoaderCallableStatus, RelationshipDirection
from sqlalchemy.orm.collections import collection_adapter

from sessionwise.errors import UNKNOWN, MergeConflict
from sessionwise.loading import graph, internals, keys, rows
from sessionwise.loading.prefetch import cascading, identity_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.orm import ColumnProperty, InstanceState, RelationshipProperty, Session

    from sessionwise.loading.prefetch import Prefetched

__all__ = ["Merge", "compare"]

_TRACKED_ONLY_WHEN_SET = (JSON, ARRAY, PickleType)
"""Types whose values can be changed in place, and nobody notices."""


@dataclass
class Merge:
    """What is to be done with objects that have a row."""

    found: Prefetched
    conflicts: list[MergeConflict] = field(default_factory=list)
    """What both sides have changed."""
    written: dict[InstanceState[Any], set[str]] = field(default_factory=dict)
    """Of each object, the column attributes that go into its row whoever wins."""
    disputed: dict[InstanceState[Any], set[str]] = field(default_factory=dict)
    """Of each object, the attributes in conflict."""
    related: list[Related] = field(default_factory=list)
    """The relationships that have changed here."""
    claimed: dict[tuple[int, str], Any] = field(default_factory=dict)
    """What another of the objects wants to write into the same row, by row and attribute."""

    def carry_out(
        self,
        session: Session,
        instances: Sequence[Any],
        options: Sequence[Any] | None,
        *,
        mine: bool,
    ) -> list[Any]:
        """Merge; attributes in conflict are mine, or else theirs.

        :returns: the session's objects for ``instances``.
        """
        sources = self.found.sources
        with self._only_what_is_written(mine=mine):
            merged = internals.merge_all(
                session, [source.obj() for source in sources], self.found.absent, options
            )
        by_source = dict(zip(sources, merged, strict=True))
        for change in self.related:
            name = change.relationship.key
            if mine or name not in self.disputed.get(change.source, ()):
                change.carry_out(by_source)
        return [by_source[internals.state_of(instance)] for instance in instances]

    @contextmanager
    def _only_what_is_written(self, *, mine: bool) -> Iterator[None]:
        """Hide from SQLAlchemy's merge, for a block, what it is not to copy."""
        hidden: list[tuple[InstanceState[Any], dict[str, Any]]] = []
        try:
            for source, written in self.written.items():
                kept = written | (self.disputed.get(source, set()) if mine else set())
                kept -= set(source.mapper.relationships.keys())
                kept |= _primary_key(source)
                mapped = source.mapper.attrs
                away = {
                    name: value
                    for name, value in source.dict.items()
                    if name in mapped and name not in kept
                }
                hidden.append((source, away))
                for name in away:
                    del source.dict[name]
            yield
        finally:
            for source, away in hidden:
                source.dict.update(away)


@dataclass(frozen=True)
class Related:
    """A relationship that has changed here, and how."""

    source: InstanceState[Any]
    target: Any
    relationship: RelationshipProperty[Any]
    added: tuple[object, ...]
    """The objects, to be merged, that it refers to now."""
    removed: tuple[Any, ...]
    """The identity keys that it does not refer to any more."""

    def carry_out(self, merged: dict[InstanceState[Any], Any]) -> None:
        """Change the session's object."""
        name = self.relationship.key
        added = [merged[internals.state_of(one)] for one in self.added]
        if not self.relationship.uselist:
            setattr(self.target, name, added[0] if added else None)
            return
        adapter = collection_adapter(getattr(self.target, name))
        for member in list(adapter):
            if identity_of(internals.state_of(member)) in self.removed:
                adapter.remove_with_event(member)
        there = set(map(id, adapter))
        for member in added:
            if id(member) not in there:
                adapter.append_with_event(member)


def compare(session: Session, found: Prefetched) -> Merge:
    """Compare objects with their rows; nothing is changed."""
    merge = Merge(found)
    pairs = [(source, found.target_of(source)) for source in found.sources]
    there = [(source, one) for source, one in pairs if one is not None and one is not source.obj()]
    _load_deferred(session, there)
    for source, target in there:
        merge.written[source] = set()
        for attribute, base in _touched(source):
            _compare_column(merge, source, target, attribute, base)
        for relationship in cascading(source):
            _compare_relationship(merge, source, target, relationship)
    return merge


def _load_deferred(session: Session, pairs: list[tuple[InstanceState[Any], Any]]) -> None:
    """Load of the rows what the objects have touched and a SELECT leaves out."""
    for source, target in pairs:
        state = internals.state_of(target)
        names = [one.key for one, _ in _touched(source) if one.key not in state.dict]
        if names:
            for _ in rows.load_again(session, [state], names):
                pass


def _touched(source: InstanceState[Any]) -> Iterator[tuple[ColumnProperty[Any], Any]]:
    """Give the column attributes that may have been changed here, each with its base."""
    primary_key = _primary_key(source)
    version = source.mapper.version_id_col
    for attribute in source.mapper.column_attrs:
        name, column = attribute.key, attribute.columns[0]
        if name not in source.dict or name in primary_key or column is version:
            continue
        if not isinstance(column, Column):
            continue  # computed by the mapping: there is nothing to write
        if name in source.committed_state:
            base = source.committed_state[name]
            known = not isinstance(base, LoaderCallableStatus) and source.key is not None
            yield attribute, base if known else UNKNOWN
        elif source.key is None or _is_unsure(source, name, column):
            yield attribute, UNKNOWN


def _is_unsure(source: InstanceState[Any], name: str, column: Column[Any]) -> bool:
    """Say whether the loaded value may be another than the row was loaded with."""
    if internals.is_unconfirmed(source):
        return True
    value = source.dict[name]
    return isinstance(column.type, _TRACKED_ONLY_WHEN_SET) and not (
        value is None or isinstance(value, str | bytes | int | float) or hasattr(value, "_parents")
    )


def _primary_key(source: InstanceState[Any]) -> set[str]:
    return {attribute.key for attribute in keys.attributes(source.mapper)}


def _compare_column(
    merge: Merge,
    source: InstanceState[Any],
    target: Any,
    attribute: ColumnProperty[Any],
    base: Any,
) -> None:
    name = attribute.key
    mine, theirs = source.dict[name], internals.state_of(target).dict.get(name)
    if isinstance(mine, ClauseElement):
        merge.written[source].add(name)  # the database computes it from the row as it is
        return
    same = attribute.columns[0].type.compare_values
    if same(mine, theirs) or (base is not UNKNOWN and same(mine, base)):
        return
    if base is not UNKNOWN and same(base, theirs):
        merge.written[source].add(name)
        theirs = merge.claimed.setdefault((id(target), name), mine)
        if same(mine, theirs):
            return
        merge.written[source].discard(name)
    merge.conflicts.append(MergeConflict(source.obj(), name, base, mine, theirs))
    merge.disputed.setdefault(source, set()).add(name)


def _compare_relationship(
    merge: Merge, source: InstanceState[Any], target: Any, relationship: RelationshipProperty[Any]
) -> None:
    name = relationship.key
    if source.key is not None and name not in source.committed_state:
        return
    mine = {_label(one): one for one in graph.members(source.dict[name])}
    base = _base(source, relationship)
    theirs = _theirs(target, relationship)
    if set(mine) == set(theirs) or (base is not None and set(mine) == base):
        return
    merged_freely = relationship.uselist and base is not None
    if not merged_freely and base != set(theirs):
        conflict = MergeConflict(
            source.obj(), name, UNKNOWN if base is None else base, list(mine), list(theirs)
        )
        merge.conflicts.append(conflict)
        merge.disputed.setdefault(source, set()).add(name)
    before = set(theirs) if base is None else base
    added = tuple(one for label, one in mine.items() if label not in before)
    merge.related.append(Related(source, target, relationship, added, tuple(before - set(mine))))


def _label(instance: object) -> Any:
    """Return what tells an object apart: its identity key, or that it is new."""
    state = internals.state_of(instance)
    return identity_of(state) or state


def _base(source: InstanceState[Any], relationship: RelationshipProperty[Any]) -> set[Any] | None:
    """Return what a relationship referred to when its object was loaded; None: nobody knows."""
    if source.key is None or internals.is_unconfirmed(source):
        return None
    base = source.committed_state[relationship.key]
    if not isinstance(base, LoaderCallableStatus):
        return {_label(one) for one in (base if relationship.uselist else graph.members(base))}
    if relationship.direction is not RelationshipDirection.MANYTOONE:
        return None
    return graph.referred_to(source, relationship)


def _theirs(target: Any, relationship: RelationshipProperty[Any]) -> list[Any]:
    state = internals.state_of(target)
    if relationship.direction is RelationshipDirection.MANYTOONE:
        referred = graph.referred_to(state, relationship)
        if referred is not None:
            return list(referred)
    return [_label(one) for one in graph.members(getattr(target, relationship.key))]

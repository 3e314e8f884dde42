"""What a merge will look for, loaded beforehand."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import RelationshipDirection, selectinload

from sessionwise.loading import graph, internals, keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Select
    from sqlalchemy.orm import InstanceState, Mapper, RelationshipProperty, Session

    from sessionwise.loading.keys import IdentityKey

__all__ = ["How", "Prefetched", "cascading", "identity_of", "prefetch"]


@dataclass
class Prefetched:
    """The objects of a merge, and the rows there are for them."""

    sources: list[InstanceState[Any]] = field(default_factory=list)
    """All that is to be merged, what the merge cascades to included."""
    targets: dict[IdentityKey, Any] = field(default_factory=dict)
    """The session's objects for those that have a row."""
    absent: set[IdentityKey] = field(default_factory=set)
    """The keys that have none."""

    def target_of(self, source: InstanceState[Any]) -> Any:
        """Return the session's object for a source; None where there is no row."""
        key = identity_of(source)
        return None if key is None else self.targets.get(key)


def identity_of(state: InstanceState[Any]) -> IdentityKey | None:
    """Return the identity key that an object has, or claims; None without a whole primary key."""
    if state.key is not None:
        return state.key
    values = tuple(state.dict.get(one.key) for one in keys.attributes(state.mapper))
    if any(value is None for value in values):
        return None
    return state.mapper.identity_key_from_primary_key(values, state.identity_token)


def cascading(state: InstanceState[Any]) -> Iterator[RelationshipProperty[Any]]:
    """Give the relationships of an object that a merge follows: those that are loaded or set."""
    for name, relationship in state.mapper.relationships.items():
        if name in state.dict and relationship.cascade.merge and not relationship.viewonly:
            yield relationship


@dataclass(frozen=True)
class How:
    """In which way rows are loaded for a merge."""

    options: Sequence[Any] = ()
    """Loader options, as ``merge()`` takes them."""
    anew: bool = False
    """Whether the rows of objects that the session holds are read, too."""
    lock: bool = False
    """Whether the rows are locked."""


def prefetch(session: Session, instances: Iterable[object], how: How) -> Prefetched:
    """Load what a merge of some objects will look for: level by level, one SELECT for 500."""
    found = Prefetched()
    seen: set[InstanceState[Any]] = set()
    level = [internals.state_of(instance) for instance in instances]
    while level:
        level = [state for state in dict.fromkeys(level) if state not in seen]
        seen.update(level)
        found.sources += level
        for alike, group in _by_likeness(level).items():
            to_load = _to_load(session, group, alike.names, found, anew=how.anew)
            _load(session, alike, _statement(alike, how), to_load, found)
        level = [
            internals.state_of(member)
            for state in level
            for relationship in cascading(state)
            for member in graph.members(state.dict[relationship.key])
        ]
    return found


class _Alike(NamedTuple):
    """What objects have in common whose rows one SELECT can load."""

    mapper: Mapper[Any]
    token: Any
    names: frozenset[str]
    """The relationships that their targets will need."""


def _by_likeness(
    states: Iterable[InstanceState[Any]],
) -> dict[_Alike, list[InstanceState[Any]]]:
    groups: dict[_Alike, list[InstanceState[Any]]] = defaultdict(list)
    for state in states:
        names = frozenset(one.key for one in cascading(state) if _is_read_by_merge(one))
        groups[_Alike(state.mapper, state.identity_token, names)].append(state)
    return groups


def _is_read_by_merge(relationship: RelationshipProperty[Any]) -> bool:
    return relationship.uselist or relationship.direction is not RelationshipDirection.MANYTOONE


def _to_load(
    session: Session,
    sources: list[InstanceState[Any]],
    names: frozenset[str],
    found: Prefetched,
    *,
    anew: bool,
) -> list[IdentityKey]:
    """Return the keys whose rows are needed; what the session holds is noted as found."""
    to_load: dict[IdentityKey, None] = {}
    for source in sources:
        key = identity_of(source)
        if key is None or key in found.targets or key in found.absent:
            continue
        held = session.identity_map.get(key)
        if held is None:
            to_load[key] = None
            continue
        found.targets[key] = held
        state = internals.state_of(held)
        if anew and state is not source and not state.modified:
            session.expire(held)
        if anew or state.expired or not names <= state.dict.keys():
            to_load[key] = None
    return list(to_load)


def _statement(alike: _Alike, how: How) -> Select[Any]:
    mapper, token, names = alike
    needed = (selectinload(mapper.relationships[name].class_attribute) for name in names)
    statement = select(mapper).options(*how.options, *needed).execution_options(autoflush=False)
    if token is not None:
        statement = statement.execution_options(identity_token=token)
    if how.lock:
        base = mapper if mapper.concrete else mapper.base_mapper
        return statement.with_for_update(of=base.local_table)
    return statement


def _load(
    session: Session,
    alike: _Alike,
    statement: Select[Any],
    to_load: list[IdentityKey],
    found: Prefetched,
) -> None:
    loaded = keys.load(session, statement, alike.mapper, [key[1] for key in to_load])
    rows = {internals.key_of(internals.state_of(one)): one for one in loaded}
    found.targets.update(rows)
    unsure = keys.in_doubt((key[1] for key in to_load), (key[1] for key in rows))
    for key in to_load:
        if key not in rows and key[1] not in unsure:  # else merge() looks for it itself
            found.targets.pop(key, None)
            found.absent.add(key)

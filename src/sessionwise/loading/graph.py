"""Objects and what they refer to, as far as it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sessionwise.loading import internals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy.orm import InstanceState, RelationshipProperty

__all__ = ["members", "reachable", "referred_to", "related"]


def members(value: Any) -> list[Any]:
    """Return the objects that a relationship's value stands for: of a collection, its members."""
    if value is None:
        return []
    adapter = getattr(value, "_sa_adapter", None)
    return [value] if adapter is None else list(adapter)


def related(state: InstanceState[Any]) -> Iterator[tuple[str, object]]:
    """Give what an object refers to by loaded relationships, each with the relationship's name."""
    loaded = state.dict
    for name in state.mapper.relationships.keys():  # noqa: SIM118 -- not a dictionary
        for member in members(loaded.get(name)):
            yield name, member


def reachable(roots: Iterable[object]) -> dict[InstanceState[Any], str]:
    """Return some objects and all that can be reached from them, with the path to each.

    The path to a root is empty, that to others the shortest, such as ``"orders.items"``.
    """
    found: dict[InstanceState[Any], str] = {}
    to_visit = [(internals.state_of(root), "") for root in roots]
    for state, path in to_visit:  # grows as it is read
        if state not in found:
            found[state] = path
            to_visit += [
                (internals.state_of(member), f"{path}.{name}".lstrip("."))
                for name, member in related(state)
            ]
    return found


def referred_to(
    state: InstanceState[Any], relationship: RelationshipProperty[Any]
) -> set[Any] | None:
    """Return whom an object's foreign key refers to, where it refers to a primary key."""
    mapper = relationship.mapper
    if not internals.is_by_primary_key(relationship):
        return None
    local = {remote: one for one, remote in relationship.local_remote_pairs or ()}
    names = [state.mapper.get_property_by_column(local[one]).key for one in mapper.primary_key]
    if not set(names) <= state.dict.keys() or set(names) & state.committed_state.keys():
        return None
    values = tuple(state.dict[name] for name in names)
    if any(value is None for value in values):
        return set()
    return {mapper.identity_key_from_primary_key(values, state.identity_token)}

"""Objects and what they refer to, as far as it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect
from sqlalchemy.orm.collections import collection_adapter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy.orm import InstanceState

__all__ = ["members", "reachable", "related"]


def members(value: Any) -> list[Any]:
    """Return the objects that a relationship's value stands for: of a collection, its members."""
    if value is None:
        return []
    adapter = getattr(value, "_sa_adapter", None)
    return [value] if adapter is None else list(collection_adapter(value))


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
    to_visit = [(inspect(root, raiseerr=True), "") for root in roots]
    for state, path in to_visit:  # grows as it is read
        if state not in found:
            found[state] = path
            to_visit += [
                (inspect(member, raiseerr=True), f"{path}.{name}".lstrip("."))
                for name, member in related(state)
            ]
    return found

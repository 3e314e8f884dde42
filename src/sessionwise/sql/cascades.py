"""What the database changes along: foreign keys with ON DELETE and ON UPDATE actions."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import ForeignKey, MetaData

__all__ = ["follow"]

_ACTS = frozenset({"CASCADE", "SET NULL", "SET DEFAULT"})

_Edges = dict[str, list[tuple[str, str, str]]]
"""For each table those that refer to it: their name, ON DELETE, ON UPDATE."""

_EDGES: WeakKeyDictionary[MetaData, tuple[int, _Edges]] = WeakKeyDictionary()


def follow(metadata: MetaData, updates: Iterable[str], deletes: Iterable[str]) -> set[str]:
    """Return the tables whose rows change, or go, because rows of some do.

    :param updates: tables in which rows are changed.
    :param deletes: tables from which rows are deleted.
    """
    edges = _edges_of(metadata)
    ahead = [(name, False) for name in updates] + [(name, True) for name in deletes]
    reached: set[tuple[str, bool]] = set()
    while ahead:
        for one in _follow_one(edges, *ahead.pop()):
            if one not in reached:
                reached.add(one)
                ahead.append(one)
    return {name for name, _ in reached}


def _follow_one(edges: _Edges, name: str, goes: bool) -> Iterator[tuple[str, bool]]:
    """Give the tables that a change of one leads to, and whether rows of them go."""
    for other, on_delete, on_update in edges.get(name, ()):
        action = on_delete if goes else on_update
        if action in _ACTS:
            yield other, goes and action == "CASCADE"


def _edges_of(metadata: MetaData) -> _Edges:
    size = len(metadata.tables)  # tables may be added later
    known = _EDGES.get(metadata)
    if known is None or known[0] != size:
        known = _EDGES[metadata] = (size, _find_edges(metadata))
    return known[1]


def _find_edges(metadata: MetaData) -> _Edges:
    edges: _Edges = {}
    for table in metadata.tables.values():
        for key in table.foreign_keys:
            actions = ((key.ondelete or "").upper(), (key.onupdate or "").upper())
            if not _ACTS.isdisjoint(actions):
                edges.setdefault(_target(key), []).append((table.name.lower(), *actions))
    return edges


def _target(key: ForeignKey) -> str:
    """Return the table that a foreign key refers to, by what it says: that may not exist yet."""
    return key.target_fullname.split(".")[-2].lower()

"""Which tables the attributes of a mapped class come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import Column, MetaData, Table
from sqlalchemy.orm import RelationshipDirection
from sqlalchemy.sql import visitors
from sqlalchemy.sql.expression import ColumnClause, TableClause

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.orm import Mapper, RelationshipProperty
    from sqlalchemy.sql.visitors import ExternallyTraversible

__all__ = ["Sources", "known_tables", "related_to", "sources_of", "tables_in"]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the values of a class's attributes are stored, by tables' bare names in lower case."""

    tables: frozenset[str]
    """The tables of the class itself."""
    columns: frozenset[str]
    """The attributes that are columns of these, but for the primary key: that is the object's."""
    others: Mapping[str, frozenset[str]]
    """Other attributes, relationships above all: the tables that decide what their values are."""
    metadata: frozenset[MetaData]
    """What knows the foreign keys of these tables."""


_SOURCES: WeakKeyDictionary[Mapper[Any], tuple[int, Sources]] = WeakKeyDictionary()


def sources_of(mapper: Mapper[Any]) -> Sources:
    """Return where the values of a class are stored."""
    size = len(mapper.attrs)  # attributes may be added to a class later
    known = _SOURCES.get(mapper)
    if known is None or known[0] != size:
        known = _SOURCES[mapper] = (size, _find_sources(mapper))
    return known[1]


def _find_sources(mapper: Mapper[Any]) -> Sources:
    tables = tables_in(mapper.persist_selectable)
    columns: set[str] = set()
    others: dict[str, frozenset[str]] = {}
    for attribute in mapper.column_attrs:
        if all(isinstance(one, Column) for one in attribute.columns):
            if not set(attribute.columns).intersection(mapper.primary_key):
                columns.add(attribute.key)
        else:
            others[attribute.key] = tables | tables_in(*attribute.columns)
    for relationship in mapper.relationships:
        others[relationship.key] = _decided_by(relationship)
    return Sources(tables, frozenset(columns), others, _metadata(mapper))


def _metadata(mapper: Mapper[Any]) -> frozenset[MetaData]:
    return frozenset(table.metadata for table in mapper.tables if isinstance(table, Table))


def _decided_by(relationship: RelationshipProperty[Any]) -> frozenset[str]:
    """Return the tables that decide what a relationship of an object refers to.

    Its own table is none of them where only its primary key is compared: that is what it is.
    """
    found = related_to(relationship)
    own = relationship.parent
    refers = relationship.direction is RelationshipDirection.MANYTOONE
    if refers or not relationship.local_columns.issubset(own.primary_key):
        found |= tables_in(own.persist_selectable)
    return found


def related_to(relationship: RelationshipProperty[Any]) -> frozenset[str]:
    """Return the tables that a relationship leads to: its target's, and the one in between."""
    targets = [one.persist_selectable for one in relationship.mapper.self_and_descendants]
    targets.append(relationship.entity.selectable)
    if relationship.secondary is not None:
        targets.append(relationship.secondary)
    return tables_in(*targets)


def tables_in(*elements: ExternallyTraversible) -> frozenset[str]:
    """Return the tables that some expressions and selectables name, or have columns of."""
    found: set[str] = set()
    _collect(elements, found, set())
    return frozenset(found)


def _collect(elements: Iterable[Any], found: set[str], seen: set[int]) -> None:
    for element in elements:
        if id(element) in seen:
            continue
        seen.add(id(element))
        for part in visitors.iterate(element):
            if isinstance(part, TableClause):
                found.add(part.name.lower())
            elif isinstance(part, ColumnClause) and part.table is not None:
                _collect([part.table], found, seen)


_KNOWN: WeakKeyDictionary[MetaData, frozenset[str]] = WeakKeyDictionary()


def known_tables(some: Iterable[MetaData]) -> frozenset[str]:
    """Return the tables that some metadata knows."""
    known: frozenset[str] = frozenset()
    for metadata in some:
        names = _KNOWN.get(metadata)
        if names is None or len(names) < len(metadata.tables):
            names = frozenset(table.name.lower() for table in metadata.tables.values())
            _KNOWN[metadata] = names
        known |= names
    return known

"""Which tables a flush may write for an object that has changed."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import ColumnProperty, RelationshipDirection, RelationshipProperty

from sessionwise.sql import cascades
from sessionwise.sql.mapped import related_to, sources_of, tables_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from sqlalchemy.orm import Mapper

__all__ = ["of_changed", "of_deleted", "of_new"]

_CACHED = 4_096
"""Classes and attributes; each takes some hundred bytes."""


@lru_cache(_CACHED)
def of_new(mapper: Mapper[Any]) -> frozenset[str]:
    """Return the tables that are written for a new object of a class."""
    found = set(sources_of(mapper).tables)
    for relationship in _written(mapper.relationships):
        found |= _links(relationship)
    return _followed(mapper, found, ())


@lru_cache(_CACHED)
def of_changed(mapper: Mapper[Any], name: str) -> frozenset[str]:
    """Return the tables that are written for an object of which an attribute has changed."""
    attribute = mapper.attrs.get(name)
    if isinstance(attribute, RelationshipProperty):
        return _of_relationship(mapper, attribute)
    found = set(sources_of(mapper).tables)
    if isinstance(attribute, ColumnProperty) and set(attribute.columns) & set(mapper.primary_key):
        for relationship in _written(mapper.relationships):  # what refers to it changes along
            found |= _links(relationship)
    return _followed(mapper, found, ())


@lru_cache(_CACHED)
def of_deleted(mapper: Mapper[Any]) -> frozenset[str]:
    """Return the tables that are written where an object of a class is deleted."""
    changed: set[str] = set()
    deleted: set[str] = set()
    for one in _deleted_along(mapper):
        deleted |= _tables(one)
        for relationship in _written(one.relationships):
            changed |= _links(relationship)
    return _followed(mapper, changed, deleted)


def _of_relationship(mapper: Mapper[Any], one: RelationshipProperty[Any]) -> frozenset[str]:
    if one.viewonly:
        return frozenset()
    found = set(_links(one))
    if one.direction is RelationshipDirection.MANYTOONE or one.post_update:
        found |= sources_of(mapper).tables
    if one.cascade.delete_orphan:
        found |= of_deleted(one.mapper)
    return _followed(mapper, found, ())


def _links(relationship: RelationshipProperty[Any]) -> frozenset[str]:
    """Return the tables beside the object's own that say what a relationship refers to."""
    if relationship.secondary is not None:
        return tables_in(relationship.secondary)
    if relationship.direction is RelationshipDirection.ONETOMANY:
        return related_to(relationship)
    return frozenset()


def _written(
    relationships: Iterable[RelationshipProperty[Any]],
) -> Iterator[RelationshipProperty[Any]]:
    return (one for one in relationships if not one.viewonly)


def _deleted_along(mapper: Mapper[Any]) -> set[Mapper[Any]]:
    """Return the classes of which objects may be deleted with one, its own included."""
    found: set[Mapper[Any]] = set()
    ahead = [mapper]
    while ahead:
        for one in ahead.pop().self_and_descendants:
            if one not in found:
                found.add(one)
                ahead += [other.mapper for other in one.relationships if other.cascade.delete]
    return found


def _tables(mapper: Mapper[Any]) -> frozenset[str]:
    return sources_of(mapper).tables


def _followed(
    mapper: Mapper[Any], changed: Collection[str], deleted: Collection[str]
) -> frozenset[str]:
    """Add what the database changes along."""
    found = {*changed, *deleted}
    for metadata in sources_of(mapper).metadata:
        found |= cascades.follow(metadata, changed, deleted)
    return frozenset(found)

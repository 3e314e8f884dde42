"""What SQLAlchemy keeps to itself about mapped classes: all of it is read here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import mapperlib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import FromClause, Table
    from sqlalchemy.orm import Mapper

__all__ = ["mapped_tables", "mappers_of"]


def mappers_of(table: Table) -> Iterator[Mapper[Any]]:
    """Give the mappers of the classes that are stored in a table, whoever has declared them."""
    for registry in mapperlib._all_registries():
        for mapper in registry.mappers:
            if table in mapper.tables:
                yield mapper


def mapped_tables() -> Iterator[FromClause]:
    """Give the tables that classes are stored in, whoever has declared them."""
    for registry in mapperlib._all_registries():
        for mapper in registry.mappers:
            yield from mapper.tables

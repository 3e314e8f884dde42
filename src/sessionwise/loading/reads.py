"""Which tables a query reads, with what its objects are loaded with."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from sqlalchemy.orm import Mapper, RelationshipProperty
from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import ColumnClause, TextClause
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.lambdas import LambdaElement
from sqlalchemy.sql.selectable import FromClause, TableClause
from sqlalchemy.util import LRUCache

from sessionwise.loading import internals
from sessionwise.sql import constructs, texts
from sessionwise.sql.mapped import related_to, sources_of

__all__ = ["tables_read"]

_HARMLESS = re.compile(r"\s*(?:\*|\d+)\s*\Z")
"""What SQLAlchemy itself writes by the letter: ``count(*)``, ``EXISTS (SELECT 1 …)``."""

_WHOLE = re.compile(r"\s*\(*\s*(?:SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE)


class _Opaque(Exception):  # noqa: N818 -- it is an answer, and never leaves this module
    """Raised for a statement of which nobody knows what it reads."""


def tables_read(statement: Any, dialect: str) -> frozenset[str] | None:
    """Return the tables that a query reads, by their bare names in lower case.

    None where it may read others, or write.
    """
    key = internals.cache_key(statement)
    if key is None:
        return _find(statement, dialect)
    known = _FOUND.get((dialect, key))
    if known is None:
        known = _FOUND[dialect, key] = (_find(statement, dialect),)
    return known[0]


_FOUND: LRUCache[Any, tuple[frozenset[str] | None]] = LRUCache(1_000)
"""What statements read, by what SQLAlchemy knows them by, which is made for it anyway."""


def _find(statement: Any, dialect: str) -> frozenset[str] | None:
    try:
        return _tables_in(statement, dialect)
    except _Opaque:
        return None


def _tables_in(statement: Any, dialect: str) -> frozenset[str]:
    found: set[str] = set()
    seen: set[int] = set()
    ahead = [statement]
    while ahead:
        element = ahead.pop()
        if id(element) in seen:
            continue
        seen.add(id(element))
        if isinstance(element, Mapper):
            found |= _of_entity(element)
        elif isinstance(element, RelationshipProperty):
            found |= related_to(element)
        else:
            for part in visitors.iterate(element):
                found |= _of_part(part, dialect)
                ahead += _behind(part)
    return frozenset(found)


def _of_part(part: Any, dialect: str) -> frozenset[str]:
    """Return the tables that a part of a statement stands for by itself."""
    if _is_opaque(part, dialect):
        raise _Opaque
    if isinstance(part, TextClause):
        return _of_text(part.text, dialect)
    found: frozenset[str] = frozenset()
    if isinstance(part, TableClause):
        found = frozenset((part.name.lower(),))
    mapper = internals.mapper_of(part)
    if mapper is not None:
        found |= _of_entity(mapper) if isinstance(part, FromClause) else sources_of(mapper).tables
    return found


def _is_opaque(part: Any, dialect: str) -> bool:
    return (
        isinstance(part, UpdateBase | LambdaElement)
        or (isinstance(part, ColumnClause) and part.is_literal and not _HARMLESS.match(part.name))
        or (isinstance(part, FunctionElement) and constructs.is_foreign(part, dialect))
        or internals.is_compiled_by_others(part)
    )


def _behind(part: Any) -> list[Any]:
    """Return what a part of a statement refers to, and iteration over it does not lead to."""
    named = internals.named_in_options(part)
    if named is None:
        raise _Opaque
    table = getattr(part, "table", None)
    return named if table is None else [*named, table]


def _of_text(text: str, dialect: str) -> frozenset[str]:
    if not _WHOLE.match(text):
        raise _Opaque  # a part of a statement
    found = texts.of_text(text, dialect, "named")
    if found.writes:
        raise _Opaque
    return found.reads


@lru_cache(1_024)
def _of_entity(mapper: Mapper[Any]) -> frozenset[str]:
    """Return the tables that objects of a class are read from, those loaded along included."""
    found: frozenset[str] = frozenset()
    reached: set[Mapper[Any]] = set()
    ahead = [mapper]
    while ahead:
        for one in ahead.pop().self_and_descendants:
            if one in reached:
                continue
            reached.add(one)
            sources = sources_of(one)
            found |= sources.tables
            for name in sources.others.keys() - one.relationships.keys():
                found |= sources.others[name]
            for relationship in one.relationships:
                if relationship.lazy in internals.EAGER:
                    found |= related_to(relationship)
                    ahead.append(relationship.mapper)
    return found

"""What each database needs of us: ``traits`` is the protocol, the other files the databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sessionwise.dialects.mysql import MySQL
from sessionwise.dialects.postgresql import PostgreSQL
from sessionwise.dialects.sqlite import SQLite
from sessionwise.dialects.traits import Traits

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

__all__ = ["Traits", "of"]

_TRAITS: dict[str, Traits] = {
    "sqlite": SQLite(),
    "postgresql": PostgreSQL(),
    "mysql": MySQL(),
    "mariadb": MySQL(),
}
_OTHER = Traits()


def of(dialect: Dialect) -> Traits:
    """Return what is known about the database of a dialect."""
    return _TRAITS.get(dialect.name, _OTHER)

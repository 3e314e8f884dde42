"""PostgreSQL: the SQL that puts a column's value into the form in which the audit stores it."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import CompileError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Column

    from sessionwise.audit.coverage import Covered

__all__ = ["HOME", "changed", "difference", "identity", "literal", "quote", "row"]

HOME = "@sessionwise_home@"
"""Stands for the schema that the audit's tables are in, until the database says which it is."""

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

_NUMBERS = frozenset(
    {"BOOLEAN", "SMALLINT", "INTEGER", "BIGINT", "REAL", "FLOAT", "DOUBLE PRECISION"}
)
_TEXTS = frozenset({"TEXT", "VARCHAR", "CHAR"})
_MOMENTS = frozenset(
    {
        "DATE",
        "TIME WITHOUT TIME ZONE",
        "TIME WITH TIME ZONE",
        "TIMESTAMP WITHOUT TIME ZONE",
        "TIMESTAMP WITH TIME ZONE",
    }
)
_PLAIN = _NUMBERS | _TEXTS | _MOMENTS | {"UUID", "JSONB"}
"""What ``to_jsonb`` puts into the form; the zone and the digits of floats are set around it."""


def quote(name: str) -> str:
    """Return a name in quotes: it is never folded, and never a keyword."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def row(covered: Covered, alias: str, object_id: str) -> str:
    """Return the SQL of a whole row as JSON.

    :param object_id: the SQL by which the salt of redacted columns is found.
    """
    values = ", ".join(
        f"{_stored(covered, column, alias, object_id)} AS {quote(column.name)}"
        for column in covered.columns
    )
    return f"pg_catalog.to_jsonb((SELECT q FROM (SELECT {values}) AS q))"  # noqa: S608 - quoted


def changed(covered: Covered, old: str, new: str) -> str:
    """Return the condition that an UPDATE has changed what is recorded of a row."""
    return " OR ".join(_differs(column, old, new) for column in covered.columns)


def difference(covered: Covered, old: str, new: str, object_id: str) -> str:
    """Return the SQL of the columns that an UPDATE has changed, as JSON.

    It is put together as text, so that a value that is the same costs no more than to compare it.
    """
    members = ", ".join(
        f"CASE WHEN {_differs(column, old, new)} THEN "
        f"{literal(json.dumps(column.name, ensure_ascii=False) + ':')} || "
        f"coalesce(pg_catalog.to_json({_stored(covered, column, new, object_id)})::text, 'null') "
        "END"
        for column in covered.columns
    )
    return f"('{{' || pg_catalog.array_to_string(ARRAY[{members}], ',') || '}}')::jsonb"


def identity(key: Iterable[Column[Any]], alias: str) -> str:
    """Return the SQL of ``object_id``."""
    parts = list(key)
    if len(parts) == 1:
        return _text(parts[0], alias)
    return f"pg_catalog.jsonb_build_array({', '.join(_form(c, alias) for c in parts)})::text"


def _stored(covered: Covered, column: Column[Any], alias: str, object_id: str) -> str:
    if column.name not in covered.redacted:
        return _form(column, alias)
    return (
        f"{HOME}.sessionwise_audit_hash({literal(covered.name)}, {object_id}, "
        f"{_text(column, alias)})"
    )


def _text(column: Column[Any], alias: str) -> str:
    """Return the SQL of the form's text."""
    name = _name(column.type)
    if name in _TEXTS | {"UUID"} or (name in _NUMBERS and "INT" in name):
        return f"{alias}.{quote(column.name)}::text"
    form = _form(column, alias)
    return form if form.endswith("::text") else f"(pg_catalog.to_jsonb({form}) #>> '{{}}')"


def _differs(column: Column[Any], old: str, new: str) -> str:
    return f"{_compared(column, old)} IS DISTINCT FROM {_compared(column, new)}"


def _compared(column: Column[Any], alias: str) -> str:
    """Return the form as it is compared: no collation makes different texts equal."""
    if _name(column.type) in _TEXTS:
        return f'{alias}.{quote(column.name)}::text COLLATE "C"'
    return _form(column, alias)


def _form(column: Column[Any], alias: str) -> str:
    value = f"{alias}.{quote(column.name)}"
    name = _name(column.type)
    if name in _PLAIN:
        return value
    if name in _SPECIAL:
        return _SPECIAL[name].format(value)
    if name.endswith("[]"):
        item = name.rstrip("[]")
        listed = value if item in _PLAIN else f"{value}::text[]"
        return f"pg_catalog.to_jsonb({listed})"
    return f"{value}::text"


_SPECIAL = {
    "BYTEA": "pg_catalog.encode({}, 'hex')",
    "INTERVAL": "EXTRACT(epoch FROM {})::text",
    "JSON": HOME + ".sessionwise_audit_json({}::text)",
}


@lru_cache(maxsize=512)  # each is asked for many times in a row
def _name(type_: Any) -> str:
    """Return what DDL calls a type, without its length and collation; a domain's is its base's."""
    found = type_.dialect_impl(_DIALECT)
    if isinstance(found, postgresql.DOMAIN):
        return _name(found.data_type)
    try:
        name: str = found.compile(_DIALECT)
    except CompileError:  # a type that is not known to anybody: its text is
        return "?"
    name = re.sub(r"\(.*?\)", "", name)
    name = re.sub(r" COLLATE .*$", "", name)
    return " ".join(name.split()) if name == name.upper() else name

"""PostgreSQL: what the catalog says of a table, beside what the plan takes it to be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import Integer, Interval, Numeric, Sequence, Text, TypeDecorator, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import CompileError

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection, Dialect

    from sessionwise.bulk.plan import Plan

__all__ = ["Field", "Layout", "Numbers", "layout"]

_OLDEST = (12,)
"""The first PostgreSQL that has all of the catalog that is asked."""

_CATALOG = text(
    """
SELECT n.nspname::text, c.relname::text,
       c.relkind IN ('r', 'p') AND NOT c.relhasrules AND NOT row_security_active(c.oid)
       AND NOT (c.relkind = 'p' AND EXISTS (
           SELECT FROM pg_partition_tree(c.oid) AS p JOIN pg_class AS f ON f.oid = p.relid
            WHERE f.relkind = 'f')),
       s.name, q.seqincrement, q.seqmax, has_sequence_privilege(q.seqrelid, 'USAGE, UPDATE'),
       has_sequence_privilege(q.seqrelid, 'SELECT')
       AND has_sequence_privilege(q.seqrelid, 'UPDATE') AND NOT q.seqcycle,
       a.attname::text, a.atttypid::bigint, a.atttypmod, t.typname::text, t.typtype::text,
       e.typname::text, a.attidentity::text, w.type::bigint
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type AS t ON t.oid = a.atttypid
  LEFT JOIN pg_type AS e ON e.oid = t.typelem AND t.typcategory = 'A'
  LEFT JOIN (SELECT name, CAST(to_regtype(type) AS oid) AS type
               FROM unnest(:names, :types) AS u (name, type)) AS w ON w.name = a.attname
  LEFT JOIN LATERAL (SELECT CASE a.attname WHEN :serial THEN COALESCE(
       :sequence, pg_get_serial_sequence(format('%I.%I', n.nspname, c.relname), a.attname))
       END AS name) AS s ON true
  LEFT JOIN pg_sequence AS q ON q.seqrelid = to_regclass(s.name)
 WHERE c.oid = to_regclass(:table)
"""
).bindparams(
    bindparam("names", type_=ARRAY(Text)),
    bindparam("types", type_=ARRAY(Text)),
    bindparam("serial", type_=Text),
    bindparam("sequence", type_=Text),
    bindparam("table", type_=Text),
)

_ALIKE = (
    frozenset({20, 21, 23}),  # integers, by the numbers of their types
    frozenset({25, 1043}),  # text and varchar
)
"""Types whose values one may take for the other's: what does not fit is refused."""

_CUT = frozenset({"bit", "varbit"})
"""Types that SQLAlchemy's INSERT casts a value to, which cuts it, or fills it up."""


@dataclass(frozen=True)
class Numbers:
    """The sequence that a primary key has its values from."""

    name: str
    """As ``regclass`` takes it."""
    step: int
    last: int
    """The greatest number that it gives."""
    may_take: bool
    """Whether the user may take numbers from it."""
    may_move: bool
    """Whether the user may move it on."""


@dataclass(frozen=True)
class Field:
    """A column as it is in the database."""

    name: str
    oid: int
    """The number of its type."""
    modifier: int
    type: str
    """The name of the type in the catalog."""
    kind: str
    """What sort of type it is: ``"b"`` for a base type, ``"e"`` for an enumeration …"""
    element: str | None
    """For an array, the name of the type of its elements."""
    identity: str
    """``"a"`` for ``GENERATED ALWAYS``."""
    expected: int | None
    """The number of the type that the model gives it."""


@dataclass(frozen=True)
class Layout:
    """A table as it is in the database, for one plan."""

    schema: str
    table: str
    is_plain: bool
    """Whether COPY does to the rows of the plan what INSERT does."""
    fields: dict[Column[Any], Field]
    """The columns of the plan, and the one that is numbered."""
    serial: Column[Any] | None
    """The integer column of the primary key that may be numbered by a sequence."""
    numbers: Numbers | None
    """That sequence."""
    is_models: bool
    """Whether it is the model that names the sequence, and not the column's default."""

    def copy(self, names: list[str], *, binary: bool) -> str:
        """Return the COPY of some columns."""
        table = f"{_quote(self.schema)}.{_quote(self.table)}"
        form = " WITH (FORMAT binary)" if binary else ""
        return f"COPY {table} ({', '.join(map(_quote, names))}) FROM STDIN{form}"


_LAYOUTS: WeakKeyDictionary[Plan, Layout | None] = WeakKeyDictionary()
"""A plan lives as long as one call of a bulk verb: what the catalog has said is never old."""


def layout(connection: Connection, plan: Plan) -> Layout | None:
    """Return what the catalog says of the table of a plan; None where it is not found there."""
    if plan not in _LAYOUTS:
        _LAYOUTS[plan] = _look(connection, plan)
    return _LAYOUTS[plan]


def _look(connection: Connection, plan: Plan) -> Layout | None:
    dialect, serial = connection.dialect, _serial(plan)
    version = dialect.server_version_info
    if connection.get_execution_options().get("schema_translate_map") or (
        version is not None and version < _OLDEST
    ):
        return None
    columns = dict.fromkeys([*plan.columns, *([] if serial is None else [serial])])
    name = dialect.identifier_preparer.format_table(plan.target.table)
    parameters: dict[str, Any] = {
        "names": [column.name for column in columns],
        "types": [_type(column, dialect) for column in columns],
        "serial": None if serial is None else serial.name,
        "sequence": None if serial is None else _sequence(serial, dialect),
        "table": _undoubled(name, dialect),
    }
    rows = connection.execute(_CATALOG, parameters).all()
    by_name = {row[8]: Field(*row[8:]) for row in rows}
    if not all(column.name in by_name for column in columns):
        return None  # there is no such table, or it has other columns: the INSERT will say so
    fields = {column: by_name[column.name] for column in columns}
    schema, name, is_plain = rows[0][:3]
    return Layout(
        schema,
        name,
        is_plain=is_plain and _agrees(plan, fields),
        fields=fields,
        serial=serial,
        numbers=next((Numbers(*row[3:8]) for row in rows if row[4] is not None), None),
        is_models=parameters["sequence"] is not None,
    )


def _serial(plan: Plan) -> Column[Any] | None:
    """Return the column of the primary key that the database may number."""
    table = plan.target.table
    column: Column[Any] | None = table.autoincrement_column
    if column is None:
        key = [one for one in table.primary_key if isinstance(one.default, Sequence)]
        column = key[0] if len(key) == 1 else None
    return column if column is not None and isinstance(column.type, Integer) else None


def _sequence(serial: Column[Any], dialect: Dialect) -> str | None:
    """Return the sequence that the model names; the column's own one the server finds."""
    default = serial.default
    if not isinstance(default, Sequence) or default.optional:
        return None
    return _undoubled(dialect.identifier_preparer.format_sequence(default), dialect)


def _agrees(plan: Plan, fields: dict[Column[Any], Field]) -> bool:
    """Say whether what is written is what the model says, and what is left out has a value."""
    for column in plan.target.table.c:
        default = column.default
        if column not in fields and isinstance(default, Sequence) and not default.optional:
            return False
    return all(
        fields[column].identity != "a" and _is_alike(column, fields[column])
        for column in plan.columns
    )


def _is_alike(column: Column[Any], field: Field) -> bool:
    if field.type == "numeric" and isinstance(column.type, Numeric):
        # SQLAlchemy's INSERT rounds as the model says, before the column does.
        precision, scale = column.type.precision, column.type.scale
        if precision is not None and field.modifier != (precision << 16 | (scale or 0)) + 4:
            return False
    return (field.expected == field.oid and field.type not in _CUT) or any(
        {field.expected, field.oid} <= alike for alike in _ALIKE
    )


def _type(column: Column[Any], dialect: Dialect) -> str | None:
    """Return the name of a type, such that looking it up never is an error."""
    found: Any = column.type
    while isinstance(found, TypeDecorator) and not isinstance(found, Interval):
        found = found.load_dialect_impl(dialect)
    try:
        name: str = found.compile(dialect=dialect)
    except CompileError:
        return None  # no type
    if type(found).__module__.startswith("sqlalchemy."):
        return re.sub(r' COLLATE "?.*$', "", _undoubled(name, dialect))
    own = re.match(r"[a-z_]\w*", name, re.IGNORECASE)
    return own and _quote(own[0].lower())


def _undoubled(name: str, dialect: Dialect) -> str:
    """Return a name as it is where it is a value, and not in a statement."""
    return name.replace("%%", "%") if "format" in dialect.paramstyle else name


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

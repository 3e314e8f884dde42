"""What constrains the rows of a table, as the database says: the model may know less, or more.

Only what can be looked for set-wise, with the same answer as an INSERT would give, is here. What
is missing, such as a partial index, is found by the INSERT itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import TIMESTAMP, inspect, text

from sessionwise.bulk.upserting.temporary import MYSQL

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from sqlalchemy import Connection, Table
    from sqlalchemy.engine import Inspector

__all__ = ["Check", "Constraints", "ForeignKey", "Unique", "constraints_of"]


@dataclass(frozen=True)
class Check:
    """A CHECK constraint."""

    name: str | None
    condition: str
    """As the database writes it."""


@dataclass(frozen=True)
class Unique:
    """A primary key, a unique constraint or a unique index."""

    name: str | None
    columns: tuple[str, ...]
    nulls_are_equal: bool = False


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key."""

    name: str | None
    columns: tuple[str, ...]
    schema: str | None
    table: str
    referred: tuple[str, ...]


@dataclass(frozen=True)
class Constraints:
    """What constrains the rows of a table."""

    not_null: frozenset[str] = frozenset()
    checks: tuple[Check, ...] = ()
    uniques: tuple[Unique, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    made: frozenset[str] = frozenset()
    """Columns that the database gives a value, where a row has none."""
    numbered: str | None = None
    """The column that MariaDB numbers."""
    sure: frozenset[str] = frozenset({"not null", "check", "unique", "foreign key"})
    """The kinds of which an INSERT says the same as a search.

    It does not where a trigger may change a row before it is stored.
    """

    def to_itself(self, table: Table) -> list[ForeignKey]:
        """Return the foreign keys of a table that refer to its own rows."""
        own = (table.name, table.schema)
        return [one for one in self.foreign_keys if (one.table, one.schema) == own]

    def of(
        self, kind: str, name: str | None, columns: str | None, given: AbstractSet[str]
    ) -> Unique | ForeignKey | None:
        """Return the constraint of a kind that has a name, or is on some columns.

        Where an error says neither, it is the only one that there is for the row.

        :param given: the columns in which the row is not NULL.
        """
        found: list[Unique | ForeignKey] = []
        if kind == "unique":
            found += self.uniques
        elif kind == "foreign key":
            found += [one for one in self.foreign_keys if given >= set(one.columns)]
        if name is not None:
            found = [one for one in found if one.name == name]
        if columns is not None:
            found = [one for one in found if ", ".join(one.columns) == columns]
        return found[0] if len(found) == 1 else None


@dataclass
class _Catalog:
    """What a database says by its own catalog, besides what the inspector does."""

    uniques: list[Unique] | None = None
    checks: list[Check] | None = None
    sure: frozenset[str] = Constraints.sure
    not_null: bool = True
    foreign_keys: bool = True


def constraints_of(connection: Connection, table: Table) -> Constraints:
    """Ask the database what constrains the rows of a table."""
    inspector = inspect(connection)
    name, schema = table.name, table.schema
    catalog = _catalog(connection, table)
    columns = inspector.get_columns(name, schema)
    checks = catalog.checks
    if checks is None:
        checks = [
            Check(one["name"], one["sqltext"])
            for one in inspector.get_check_constraints(name, schema)
        ]
    return Constraints(
        not_null=frozenset(
            one["name"]
            for one in columns
            if catalog.not_null and not one["nullable"] and not _is_filled(connection, one)
        ),
        checks=tuple(checks),
        uniques=tuple(
            _uniques(inspector, name, schema) if catalog.uniques is None else catalog.uniques
        ),
        foreign_keys=tuple(_foreign_keys(inspector, name, schema)) if catalog.foreign_keys else (),
        made=frozenset(one["name"] for one in columns if _is_made(one)),
        numbered=next(
            (
                one["name"]
                for one in columns
                if one.get("autoincrement") is True and connection.dialect.name in MYSQL
            ),
            None,
        ),
        sure=catalog.sure,
    )


def _is_made(column: Any) -> bool:
    return (
        column.get("default") is not None
        or bool(column.get("identity") or column.get("computed"))
        or column.get("autoincrement") is True
    )


def _is_filled(connection: Connection, column: Any) -> bool:
    """Say whether NULL becomes something else on its way into a column."""
    if connection.dialect.name in MYSQL:
        return column.get("autoincrement") is True or isinstance(column["type"], TIMESTAMP)
    return connection.dialect.name == "sqlite" and bool(column.get("primary_key"))


def _uniques(inspector: Inspector, name: str, schema: str | None) -> Iterable[Unique]:
    seen = set()
    primary = inspector.get_pk_constraint(name, schema)
    # MariaDB calls it so in its errors; the inspector has no name for it.
    own = "PRIMARY" if inspector.dialect.name in MYSQL else primary["name"]
    found = [Unique(own, tuple(primary["constrained_columns"]))]
    for index in inspector.get_indexes(name, schema):
        options = index.get("dialect_options", {})
        special = {"postgresql_where", "sqlite_where", "mysql_length", "mariadb_length"}
        names = index["column_names"]
        if index["unique"] and None not in names and not any(map(options.get, special)):
            equal = bool(options.get("postgresql_nulls_not_distinct"))
            found.append(Unique(index["name"], tuple(map(str, names)), equal))
    for one in inspector.get_unique_constraints(name, schema):
        equal = bool(one.get("dialect_options", {}).get("postgresql_nulls_not_distinct"))
        found.append(Unique(one["name"], tuple(one["column_names"]), equal))
    for unique in found:
        if unique.columns and unique.columns not in seen:
            seen.add(unique.columns)
            yield unique


def _foreign_keys(inspector: Inspector, name: str, schema: str | None) -> Iterable[ForeignKey]:
    for one in inspector.get_foreign_keys(name, schema):
        options = one.get("options", {})
        if options.get("deferrable") or options.get("initially") or options.get("match"):
            continue  # at another time, or in another way
        yield ForeignKey(
            one["name"],
            tuple(one["constrained_columns"]),
            one["referred_schema"] or schema,
            one["referred_table"],
            tuple(one["referred_columns"]),
        )


_POSTGRESQL = text(
    """
SELECT relkind IN ('r', 'p') AND NOT relrowsecurity AND NOT relhasrules AND NOT EXISTS (
         SELECT 1 FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal AND tgtype & 2 <> 0)
  FROM pg_class AS c WHERE c.oid = CAST(:name AS regclass)
"""
)
_POSTGRESQL_UNIQUES = text(
    """
SELECT CAST(c.relname AS text),
       ARRAY (SELECT CAST(attname AS text)
                FROM unnest(CAST(i.indkey AS int2[])) WITH ORDINALITY AS k (number, place)
                JOIN pg_attribute ON attrelid = i.indrelid AND attnum = number
               WHERE place <= i.indnkeyatts ORDER BY place),
       coalesce(to_jsonb(i) ->> 'indnullsnotdistinct', 'false') = 'true'
  FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
 WHERE i.indrelid = CAST(:name AS regclass) AND i.indisunique AND i.indisvalid AND i.indimmediate
   AND i.indpred IS NULL AND i.indexprs IS NULL
 ORDER BY i.indexrelid
"""
)
"""Those that are looked at with each row, and have neither a condition nor an expression.

By one query, where the inspector needs seven; ``indnullsnotdistinct`` is there from version 15 on.
"""
_MYSQL_TRIGGERS = text(
    """
SELECT count(*) FROM information_schema.triggers
 WHERE event_object_schema = coalesce(:schema, database()) AND event_object_table = :name
   AND action_timing = 'BEFORE' AND event_manipulation = 'INSERT'
"""
)
_MARIADB_CHECKS = text(
    """
SELECT constraint_name, check_clause FROM information_schema.check_constraints
 WHERE constraint_schema = coalesce(:schema, database()) AND table_name = :name
"""
)
_SQLITE_SPECIAL = """
SELECT count(*) FROM {}sqlite_master
 WHERE tbl_name = ? COLLATE NOCASE
   AND (type IN ('trigger', 'view') OR sql LIKE '%COLLATE%' OR sql LIKE '%CONFLICT%')
"""
_NONE: frozenset[str] = frozenset()


def _catalog(connection: Connection, table: Table) -> _Catalog:
    dialect: Any = connection.dialect
    preparer = dialect.identifier_preparer
    if dialect.name == "postgresql":
        name = {"name": preparer.format_table(table)}
        is_plain = connection.execute(_POSTGRESQL, name).scalar()
        found = connection.execute(_POSTGRESQL_UNIQUES, name)
        uniques = [Unique(one, tuple(columns), equal) for one, columns, equal in found]
        return _Catalog(uniques, sure=Constraints.sure if is_plain else _NONE)
    if dialect.name == "sqlite":
        schema = "" if table.schema is None else f"{preparer.quote(table.schema)}."
        special = connection.exec_driver_sql(_SQLITE_SPECIAL.format(schema), (table.name,))
        enforced = connection.exec_driver_sql("PRAGMA foreign_keys").scalar()
        # Its CHECKs are read from the text of the table, which may fail.
        sure = _NONE if special.scalar() else Constraints.sure - {"check"}
        return _Catalog(sure=sure, foreign_keys=bool(enforced))
    names = {"name": table.name, "schema": table.schema}
    mode = str(connection.exec_driver_sql("SELECT @@sql_mode").scalar())
    enforced = connection.exec_driver_sql("SELECT @@foreign_key_checks").scalar()
    catalog = _Catalog(
        sure=_NONE if connection.execute(_MYSQL_TRIGGERS, names).scalar() else Constraints.sure,
        # Where it is not strict, rows that come together get a value of its own choice.
        not_null="STRICT_" in mode,
        foreign_keys=bool(enforced),
    )
    if dialect.is_mariadb:
        rows = connection.execute(_MARIADB_CHECKS, names)
        catalog.checks = [Check(str(row[0]), str(row[1])) for row in rows]
    return catalog

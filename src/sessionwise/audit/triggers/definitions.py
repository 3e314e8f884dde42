"""Reads from a database what makes the audit's triggers and functions there, as they are now."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from sessionwise.audit.triggers.artifact import Key

__all__ = ["defined"]


def defined(connection: Connection, key: Key) -> list[str]:
    """Return the statements that make what is there once more, after it is gone."""
    return _READERS[connection.dialect.name](connection, key)


def _of_postgresql(connection: Connection, key: Key) -> list[str]:
    kind, name, table = key
    if kind == "function":
        query, parameters = _FUNCTION, {"name": name}
    else:
        query, parameters = _TRIGGER, {"name": name, "table": table or ""}
    found: list[str] = []
    for row in connection.execute(text(query), parameters):
        found += row
    return found


def _of_sqlite(connection: Connection, key: Key) -> list[str]:
    query = "SELECT sql FROM sqlite_master WHERE type = :kind AND name = :name"
    return list(connection.scalars(text(query), {"kind": key[0], "name": key[1]}))


def _of_mysql(connection: Connection, key: Key) -> list[str]:
    kind, name, _ = key
    if kind == "table":
        return []
    quoted = connection.dialect.identifier_preparer.quote_identifier(name)
    shown: Any = connection.exec_driver_sql(f"SHOW CREATE {kind.upper()} {quoted}").one()
    # Whoever runs it is its definer, as before: another may not be named by everybody.
    return [re.sub(r"^CREATE DEFINER=`[^`]*`@`[^`]*` ", "CREATE ", shown[2])]


_READERS: dict[str, Callable[[Connection, Key], list[str]]] = {
    "postgresql": _of_postgresql,
    "sqlite": _of_sqlite,
    "mysql": _of_mysql,
    "mariadb": _of_mysql,
}

_FUNCTION = r"""
SELECT pg_catalog.pg_get_functiondef(p.oid),
       pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', p.oid\:\:regprocedure),
       pg_catalog.format('COMMENT ON FUNCTION %s IS %L', p.oid\:\:regprocedure,
                         pg_catalog.obj_description(p.oid, 'pg_proc'))
  FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_class AS c ON c.relnamespace = p.pronamespace
 WHERE c.oid = pg_catalog.to_regclass('audit_log') AND p.proname = :name
"""
_TRIGGER = r"""
SELECT pg_catalog.format('DROP TRIGGER IF EXISTS %I ON %s', t.tgname, t.tgrelid\:\:regclass),
       pg_catalog.pg_get_triggerdef(t.oid),
       pg_catalog.format('ALTER TABLE %s ENABLE %s TRIGGER %I', t.tgrelid\:\:regclass,
                         CASE t.tgenabled WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA' END,
                         t.tgname),
       pg_catalog.format('COMMENT ON TRIGGER %I ON %s IS %L', t.tgname, t.tgrelid\:\:regclass,
                         pg_catalog.obj_description(t.oid, 'pg_trigger'))
  FROM pg_catalog.pg_trigger AS t
  JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE t.tgname = :name AND t.tgparentid = 0
   AND (n.nspname || '.' || c.relname = :table
        OR c.relname = :table AND pg_catalog.pg_table_is_visible(c.oid))
"""

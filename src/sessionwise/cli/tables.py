"""The tables that commands work on: as the database has them, with names near to what is asked."""

from __future__ import annotations

from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from sessionwise.cli.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Engine

__all__ = ["engine_of", "find", "is_flag", "near", "split"]

_SHOWN = 8
"""How many names a message lists."""
_PATIENCE = 10
"""Seconds in which a server must accept a connection."""


@contextmanager
def engine_of(
    url: sa.URL, *, makes_file: bool = False, checks_keys: bool = False
) -> Iterator[Engine]:
    """Give an engine that has connected once, and take it down.

    :param makes_file: whether a SQLite file may be one that is not there yet.
    :param checks_keys: have SQLite check foreign keys, which it does only where it is told to.
    :raises InputError: where it may not.
    """
    is_server = url.get_backend_name() != "sqlite"
    database = url.database or ":memory:"
    is_file = not is_server and not database.startswith((":memory:", "file:"))
    if is_file and not makes_file and not Path(database).exists():
        raise InputError(f"{database} cannot be opened (there is no such file)")
    asked = {"connect_timeout": _PATIENCE} if is_server else {}
    options = {name: value for name, value in asked.items() if name not in url.query}
    engine = sa.create_engine(url, connect_args=options)
    if checks_keys and not is_server:
        sa.event.listen(engine, "connect", _check_keys)
    try:
        with engine.connect():  # so that it is known whether it answers
            pass
        yield engine
    finally:
        engine.dispose()


def _check_keys(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")


def split(engine: Engine, name: str) -> tuple[str | None, str]:
    """Return the schema and the bare name of a table: a name with a point in it may be both."""
    inspector = sa.inspect(engine)
    if "." not in name or inspector.has_table(name):
        return None, name
    schema, _, bare = name.partition(".")
    return schema, bare


def find(
    engine: Engine, name: str, *, hint: str = "", understands_flags: bool = False
) -> sa.Table:
    """Return a table as the database has it.

    :param hint: what else there is to do where it has none.
    :param understands_flags: whether what MariaDB makes of BOOLEAN is for true and false.
    :raises InputError: where it has none.
    """
    schema, bare = split(engine, name)
    inspector = sa.inspect(engine)
    if not inspector.has_table(bare, schema=schema) and bare not in inspector.get_view_names(
        schema
    ):
        known = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
        place = f"schema {schema}" if schema else "the database"
        shown = near(bare, known) or f"{place} has no tables"
        raise InputError(f"there is no table {name!r}; {shown}{hint}")
    table = sa.Table(bare, sa.MetaData(), schema=schema, autoload_with=engine, resolve_fks=False)
    if engine.dialect.name in {"mysql", "mariadb"}:
        _understand_json(inspector, table)
        for column in table.columns:
            if isinstance(column.type, (mysql.DOUBLE, mysql.REAL, mysql.FLOAT)):
                column.type.asdecimal = False  # as decimals they would be rounded to ten digits
    if understands_flags:
        for column in table.columns:
            if is_flag(column.type):
                column.type = sa.Boolean()
    return table


def _understand_json(inspector: sa.Inspector, table: sa.Table) -> None:
    """Know MariaDB's JSON, which is a text with a CHECK."""
    checks = "".join(
        str(one["sqltext"])
        for one in inspector.get_check_constraints(table.name, schema=table.schema)
    )
    for column in table.columns:
        if isinstance(column.type, mysql.LONGTEXT) and f"json_valid(`{column.name}`)" in checks:
            column.type = sa.JSON(none_as_null=True)


def near(name: str, known: Iterable[str]) -> str:
    """Say which names are near to one that is not there; all of them where none is."""
    names = list(known)
    lower = {one.lower(): one for one in names}
    found = [lower[one] for one in get_close_matches(name.lower(), lower)]
    if found:
        return f"did you mean {' or '.join(map(repr, found))}?"
    if not names:
        return ""
    more = ", …" if len(names) > _SHOWN else ""
    return f"there are {', '.join(names[:_SHOWN])}{more}"


def is_flag(type_: Any) -> bool:
    """Say whether a type is what MariaDB makes of BOOLEAN."""
    return isinstance(type_, mysql.TINYINT) and type_.display_width == 1

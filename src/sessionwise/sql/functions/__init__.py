"""The functions that databases have of their own, and that write no table.

Beside this file are their names: of SQLite 3.40, PostgreSQL 15 and MariaDB 10.11 as those list
them, and of what later versions and MySQL have added. Functions that run a statement they are
given, such as ``query_to_xml``, are left out.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Any

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect

__all__ = ["calls_others", "calls_typed_others", "grammar", "is_own", "own"]


@cache
def own(dialect: str) -> frozenset[str]:
    """Return the names, in lower case, of the functions that a database has."""
    return _names_in("mysql" if dialect == "mariadb" else dialect)


def is_own(node: exp.Func, dialect: str) -> bool:
    """Say whether a function in a parsed statement is the database's own."""
    if not _is_in_own_schema(node, dialect):
        return False
    if not isinstance(node, exp.Anonymous | exp.AnonymousAggFunc):
        return True  # the parser knows it
    name = node.this.name if isinstance(node.this, exp.Expression) else str(node.this)
    return name.lower() in own(dialect) or (dialect == "sqlite" and _is_pragma(name))


def _is_pragma(name: str) -> bool:
    """Recognise SQLite's functions for those pragmas that have no side effects."""
    return name.lower().startswith("pragma_")


def _is_in_own_schema(node: exp.Func, dialect: str) -> bool:
    parent = node.parent
    if isinstance(parent, exp.Dot) and parent.expression is node:
        schema = parent.this.name
    elif isinstance(parent, exp.Table) and parent.this is node:
        schema = parent.db
    else:
        return True
    return not schema or (dialect == "postgresql" and schema.lower() == "pg_catalog")


def calls_others(statement: str, dialect: str) -> bool:
    """Say, without parsing it, whether a statement may call a function of somebody else's."""
    known = own(dialect)
    names = (name.lower() for name in _CALL.findall(statement))
    return any(name not in known and name not in _keywords() for name in names) or bool(
        _QUALIFIED_OR_QUOTED_CALL.search(statement)
    )


_CALL = re.compile(r"([^\W\d][\w$]*) ?\(")
_QUALIFIED_OR_QUOTED_CALL = re.compile(r'(?:["`\].]|\. ?[\w$]+) ?\(')


def calls_typed_others(statement: str, dialect: str) -> bool:
    """Say whether a statement calls what the parser knows, but from other databases.

    Here such a name is a function of the user's.
    """
    if not own(dialect):
        return False
    foreign = _foreign(dialect)
    return any(name.lower() in foreign for name in _CALL_NO_TABLE.findall(statement))


_CALL_NO_TABLE = re.compile(r"(?<![.\w$\"`])(?<!INTO )(?<!into )([^\W\d][\w$]*) ?\(")


@cache
def _foreign(dialect: str) -> frozenset[str]:
    parser: Any = Dialect.get_or_raise(grammar(dialect)).parser_class
    names = {name.lower() for name in (*parser.FUNCTIONS, *parser.FUNCTION_PARSERS)}
    return frozenset(names) - own(dialect) - _keywords()


@cache
def grammar(dialect: str) -> str | None:
    """Return the parser's name for a dialect, None for those it does not know."""
    name = {"mariadb": "mysql", "postgresql": "postgres", "mssql": "tsql"}.get(dialect, dialect)
    return name if Dialect.get(name) else None


@cache
def _keywords() -> frozenset[str]:
    """Return words that a parenthesis may follow, and that are no functions anywhere."""
    return _names_in("keywords")


def _names_in(name: str) -> frozenset[str]:
    file = resources.files(__name__).joinpath(f"{name}.txt")
    return frozenset(file.read_text("utf-8").split()) if file.is_file() else frozenset()

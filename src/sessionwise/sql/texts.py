"""Which tables a statement in the database's own words touches.

What cannot be told is opaque: it may write anything. So is a call of a function that is not the
database's own, since it may run statements.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

from sessionwise.sql import commands, functions
from sessionwise.sql.shape import BROKEN, shape
from sessionwise.sql.touched import EVERYTHING, NOTHING, Touched

__all__ = ["of_text", "writes_of_text"]

_LONGEST_KEPT = 4096
"""Characters of a text, or of a shape, that is kept to be recognised."""
_LONGEST_PARSED = 100_000
"""Characters of a shape that is parsed, which takes up to half a second."""


def of_text(statement: str, dialect: str, paramstyle: str) -> Touched:
    """Return what a text touches.

    :param dialect: the name that SQLAlchemy has for it.
    :param paramstyle: of the driver, or "named" for what ``text()`` is given.
    """
    if len(statement) > _LONGEST_KEPT:
        return _of_shape(shape(statement, dialect, paramstyle), dialect)
    return _of_short_text(statement, dialect, paramstyle)


def writes_of_text(statement: str, dialect: str, paramstyle: str) -> Touched:
    """Return what a text writes: as :func:`of_text` does, without the reads, and faster."""
    if len(statement) > _LONGEST_KEPT:
        return _writes_of_shape(shape(statement, dialect, paramstyle), dialect)
    return _writes_of_short_text(statement, dialect, paramstyle)


@lru_cache(maxsize=2048)
def _of_short_text(statement: str, dialect: str, paramstyle: str) -> Touched:
    return _of_shape(shape(statement, dialect, paramstyle), dialect)


@lru_cache(maxsize=2048)
def _writes_of_short_text(statement: str, dialect: str, paramstyle: str) -> Touched:
    return _writes_of_shape(shape(statement, dialect, paramstyle), dialect)


def _writes_of_shape(shape: str, dialect: str) -> Touched:
    if _is_plain_read(shape, dialect):
        return NOTHING
    touched = _of_shape(shape, dialect)
    return replace(touched, reads=frozenset()) if touched.reads else touched


def _of_shape(shape: str, dialect: str) -> Touched:
    if len(shape) > _LONGEST_KEPT:
        return _of_script(shape, dialect)
    return _of_short_shape(shape, dialect)


@lru_cache(maxsize=2048)
def _of_short_shape(shape: str, dialect: str) -> Touched:
    return _of_script(shape, dialect)


def _of_script(shape: str, dialect: str) -> Touched:
    """Return the union of what the statements in a text touch."""
    if BROKEN in shape or len(shape) > _LONGEST_PARSED:
        return EVERYTHING
    if _STORED_PROGRAM.fullmatch(shape) and len(_END.findall(shape)) == 1:
        return NOTHING
    touched = NOTHING
    for statement in _STATEMENT.findall(shape):
        if not statement.isspace():
            touched |= commands.of_statement(statement.strip(), dialect)
    return touched


_STATEMENT = re.compile(r'(?:[^;"`]++|"[^"]*"|`[^`]*`)+')
_STORED_PROGRAM = re.compile(
    r"CREATE\b[^;]*?\b(?:TRIGGER|FUNCTION|PROCEDURE|EVENT)\b.*\bBEGIN\b.*; ?END",
    re.IGNORECASE | re.DOTALL,
)
_END = re.compile(r"; ?END\b", re.IGNORECASE)


def _is_plain_read(shape: str, dialect: str) -> bool:
    """Say, without parsing it, whether a statement is a query that cannot write."""
    return (
        _QUERY.match(shape) is not None
        and _NOT_PLAIN.search(shape) is None
        and not functions.calls_others(shape, dialect)
    )


_QUERY = re.compile(r"[( ]*(?:SELECT|VALUES|TABLE)\b", re.IGNORECASE)
_NOT_PLAIN = re.compile(
    rf"[;{BROKEN}]|\b(?:WITH|INTO|INSERT|DELETE|MERGE|PROCEDURE)\b", re.IGNORECASE
)

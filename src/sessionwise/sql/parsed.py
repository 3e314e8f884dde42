"""Which tables a query, or DML, touches: what its tree says."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from itertools import chain
from threading import get_ident
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from sessionwise.sql import functions
from sessionwise.sql.touched import EVERYTHING, NOTHING, Touched

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["names_of", "of_query", "of_tree", "parse"]

_DEEPEST = 100
"""Parentheses in each other that are parsed: the parser calls itself for each of them."""


def of_query(statement: str, dialect: str) -> Touched:
    """Return what a query, or DML, touches."""
    tree = parse(_without_modifiers(statement), dialect)
    if not isinstance(tree, _UNDERSTOOD) or functions.calls_typed_others(statement, dialect):
        return EVERYTHING
    touched = of_tree(tree, dialect)
    if _UPDATE_OR_REPLACE.search(statement):
        touched |= Touched(deletes=touched.updates)
    return touched


_UNDERSTOOD = (exp.Query, exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Values, exp.Set)
"""What a tree may be: of words that it does not know, the parser makes a column and its alias."""


def _without_modifiers(statement: str) -> str:
    """Take out words that the parser does not know, or takes for a table's name."""
    for pattern, replacement in _MODIFIERS:
        statement = pattern.sub(replacement, statement)
    return _STARS.sub(lambda match: match[0].replace(".*", ""), statement)


_PRIORITY = r"(?: (?:LOW_PRIORITY|DELAYED|HIGH_PRIORITY|QUICK))*"
_MODIFIERS = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (rf"(?<!OR )\bREPLACE{_PRIORITY} INTO\b", "INSERT OR REPLACE INTO"),
        (rf"^REPLACE{_PRIORITY}(?= )", "INSERT OR REPLACE INTO"),
        (rf"\bINSERT{_PRIORITY} (?=IGNORE|INTO)", "INSERT "),
        (r"\bINSERT LOW_PRIORITY\b|\bINSERT DELAYED\b|\bINSERT HIGH_PRIORITY\b", "INSERT"),
        (r"\bUPDATE LOW_PRIORITY\b", "UPDATE"),
        (r"\bUPDATE IGNORE\b", "UPDATE"),
        (r"\bDELETE LOW_PRIORITY\b", "DELETE"),
        (r"\bDELETE QUICK(?= (?:IGNORE|FROM)\b)", "DELETE"),
        (r"\bDELETE IGNORE\b", "DELETE"),
        (r"\bUPDATE OR (?:ROLLBACK|ABORT|FAIL|IGNORE|REPLACE)\b", "UPDATE"),
        (r"\b(?:NOT INDEXED|INDEXED BY \w+)", ""),
        (r"^TABLE (?=[\w\"`])", "SELECT * FROM "),
        (r"\bCURRENT OF \w+", "0"),
        (r"\bOVERRIDING (?:SYSTEM|USER) VALUE\b", ""),
        (r"\b(?:NEXT|PREVIOUS) VALUE FOR [\w.`]+", "0"),
    )
)
_STARS = re.compile(r"^DELETE (?:FROM )?[^()]*?\b(?:FROM|USING)\b", re.IGNORECASE)
_UPDATE_OR_REPLACE = re.compile(r"\bUPDATE OR REPLACE\b", re.IGNORECASE)


def parse(statement: str, dialect: str) -> exp.Expr | None:
    """Return the tree of a statement, or None where the parser does not know it."""
    if _depth(statement) > _DEEPEST:
        return None
    try:
        with _silence():
            trees = sqlglot.parse(
                statement, dialect=functions.grammar(dialect), error_level=ErrorLevel.IMMEDIATE
            )
    except (SqlglotError, RecursionError, ValueError, TypeError, AttributeError, LookupError):
        return None  # whatever goes wrong in a parser, the statement is not understood
    return trees[0] if len(trees) == 1 else None


def _depth(statement: str) -> int:
    depth = deepest = 0
    for one in _PARENTHESES.findall(statement):
        depth += 1 if one == "(" else -1
        deepest = max(deepest, depth)
    return deepest


_PARENTHESES = re.compile(r"[()]")


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the parser from logging, in this thread only, what is no news here."""
    thread = get_ident()
    logger = logging.getLogger("sqlglot")

    def is_another_threads(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger.addFilter(is_another_threads)
    try:
        yield
    finally:
        logger.removeFilter(is_another_threads)


def of_tree(tree: exp.Expr, dialect: str) -> Touched:
    """Return what a statement touches by its tree."""
    touched = NOTHING
    reads: set[str] = set()
    added: set[int] = set()
    ctes = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    for node in tree.walk():
        if isinstance(node, exp.Command):
            return EVERYTHING
        if isinstance(node, exp.Func):
            if not functions.is_own(node, dialect):
                return EVERYTHING
        elif isinstance(node, exp.Table):
            if id(node) in added or isinstance(node.this, exp.Func | exp.Parameter):
                continue
            if not node.name:
                return EVERYTHING
            reads.add(node.name.lower())
        elif isinstance(node, exp.Into):
            added.update(map(id, node.find_all(exp.Table)))
        elif isinstance(node.parent, exp.When):
            continue  # the branches of a MERGE name no table
        elif isinstance(node, exp.Insert):
            touched |= _of_insert(node)
            added.update(map(id, _targets(node.this)))
        elif isinstance(node, exp.Update | exp.Delete):
            touched |= _of_change(node, dialect, ctes)
        elif isinstance(node, exp.Merge):
            names = names_of(_targets(node.this))
            touched |= Touched(inserts=names, updates=names, deletes=names)
    return EVERYTHING if touched.is_opaque else touched | Touched(frozenset(reads - _made(tree)))


def _made(tree: exp.Expr) -> set[str]:
    """Return the names that a statement gives to common tables of its own, and to no others."""
    head = tree.args.get("with_")
    made: set[str] = set()
    if isinstance(head, exp.With):
        named: set[str] = set()
        for one in head.expressions:
            named |= names_of(one.this.find_all(exp.Table))
            if head.recursive or one.alias.lower() not in named:
                made.add(one.alias.lower())
    return made


def _of_insert(node: exp.Insert) -> Touched:
    names = names_of(_targets(node.this))
    if not names:
        return EVERYTHING
    if node.args.get("alternative") == "REPLACE" or node.args.get("overwrite"):
        return Touched(names, names, names, names)
    conflict = node.args.get("conflict")
    if conflict is None or str(conflict.args.get("action")).upper() == "DO NOTHING":
        return Touched(inserts=names)
    return Touched(names, names, names)


def _of_change(node: exp.Update | exp.Delete, dialect: str, ctes: set[str]) -> Touched:
    first = names_of(_targets(node.this))
    names = set(first)
    if dialect not in _ONE_TARGET:
        others = ("this", "tables", "using", "from_")
        for one in chain.from_iterable(_list(node.args.get(key)) for key in others):
            names |= names_of(_outside_queries(one)) - ctes
    if not names:
        return EVERYTHING
    written = frozenset(names)
    return Touched(updates=written) if isinstance(node, exp.Update) else Touched(deletes=written)


_ONE_TARGET = frozenset({"postgresql", "sqlite"})
"""Databases whose UPDATE and DELETE change one table, whatever others they name."""


def _list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, exp.Expr) else []


def _targets(node: Any) -> list[exp.Table]:
    """Return the table that a statement writes into, whatever its columns and joins."""
    if isinstance(node, exp.Schema):
        node = node.this
    return [node] if isinstance(node, exp.Table) else []


def _outside_queries(node: Any) -> list[exp.Table]:
    found = node.walk(prune=lambda one: isinstance(one, exp.Query))
    return [one for one in found if isinstance(one, exp.Table)]


def names_of(tables: Iterable[exp.Table]) -> frozenset[str]:
    """Return the bare names of some tables in lower case."""
    return frozenset(table.name.lower() for table in tables if table.name)

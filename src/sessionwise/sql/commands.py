"""Which tables a statement touches, by its first word: the parser knows queries and DML only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlglot import exp

from sessionwise.sql.parsed import names_of, of_query, of_tree, parse
from sessionwise.sql.touched import EVERYTHING, NOTHING, Touched

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["of_statement"]


def of_statement(statement: str, dialect: str) -> Touched:
    """Return what one statement touches, by its first word."""
    first = _FIRST_WORD.match(statement)
    word = first[1].upper() if first else ""
    rule = _RULES.get(word)
    return EVERYTHING if rule is None else rule(statement, dialect)


_FIRST_WORD = re.compile(r"[( ]*([A-Za-z]+)")


def _nothing(_statement: str, _dialect: str) -> Touched:
    return NOTHING


def _truncate(statement: str, dialect: str) -> Touched:
    tree = parse(statement, dialect)
    if not isinstance(tree, exp.TruncateTable) or tree.args.get("option") == "CASCADE":
        return EVERYTHING
    names = names_of(tree.find_all(exp.Table))
    return Touched(deletes=names) if names else EVERYTHING


def _drop(statement: str, dialect: str) -> Touched:
    if _TABLE.match(statement):
        tree = parse(statement, dialect)
        names = names_of(tree.find_all(exp.Table)) if isinstance(tree, exp.Drop) else frozenset()
        return Touched(updates=names, deletes=names) if names else EVERYTHING
    if _HARMLESS_DROP.match(statement) and not _CASCADE.search(statement):
        return NOTHING
    return EVERYTHING


_TABLE = re.compile(r"\w+ (?:TEMPORARY )?TABLE\b", re.IGNORECASE)
_CASCADE = re.compile(r"\bCASCADE\b", re.IGNORECASE)
_HARMLESS_DROP = re.compile(
    r"DROP (?:VIEW|INDEX|TRIGGER|FUNCTION|PROCEDURE|SEQUENCE|TYPE|DOMAIN|ROLE|USER|EVENT|RULE"
    r"|POLICY|AGGREGATE|STATISTICS|PREPARE)\b",
    re.IGNORECASE,
)


def _alter(statement: str, dialect: str) -> Touched:
    match = _ALTER.match(statement)
    if match is None or _PARTITION.search(statement):
        return EVERYTHING
    tree = parse(statement, dialect)
    if isinstance(tree, exp.Alter):
        touched = of_tree(tree, dialect)
        names = names_of(tree.find_all(exp.Table))
    elif tree is None or _CALLING.search(statement):
        return EVERYTHING
    else:
        touched, names = NOTHING, frozenset({_bare(match[1])})
    return touched | Touched(names, frozenset(), names, names)


_NAME_IN_SQL = (
    r"""((?:[\w$]+|"[^"]+"|`[^`]+`|\[[^\]]+\])(?:\.(?:[\w$]+|"[^"]+"|`[^`]+`|\[[^\]]+\]))*)"""
)
_ALTER = re.compile(
    rf"ALTER (?:ONLINE |IGNORE )*TABLE (?:IF EXISTS )?(?:ONLY )?{_NAME_IN_SQL}", re.IGNORECASE
)
_PARTITION = re.compile(r"\b(?:PARTITION|UNION|INHERIT)\b", re.IGNORECASE)
_CALLING = re.compile(r"\b(?:DEFAULT|USING|CHECK|AS)\b|\bRENAME\b", re.IGNORECASE)


def _bare(name: str) -> str:
    """Return the last part of a name, without its quotes, in lower case."""
    last: str = _PARTS.findall(name)[-1]
    return last.strip('"`[]').lower()


_PARTS = re.compile(r'[\w$]+|"[^"]+"|`[^`]+`|\[[^\]]+\]')


def _create(statement: str, dialect: str) -> Touched:
    if _REPLACING_TABLE.match(statement) or not _HARMLESS_CREATE.match(statement):
        return EVERYTHING
    if not _FILLED.match(statement):
        return NOTHING
    tree = parse(statement, dialect)
    if not isinstance(tree, exp.Create):
        return EVERYTHING
    query = tree.expression
    return of_tree(query, dialect) if isinstance(query, exp.Expr) else NOTHING


_REPLACING_TABLE = re.compile(r"CREATE OR REPLACE (?:TEMPORARY )?TABLE\b", re.IGNORECASE)
_HARMLESS_CREATE = re.compile(
    r"CREATE (?:(?:OR REPLACE|GLOBAL|LOCAL|TEMP|TEMPORARY|UNLOGGED|UNIQUE|FULLTEXT|SPATIAL"
    r"|VIRTUAL|MATERIALIZED|RECURSIVE|CONSTRAINT|AGGREGATE|TRUSTED"
    r"|ALGORITHM ?= ?\w+|DEFINER ?= ?[^ ]+|SQL SECURITY \w+) )*"
    r"(?:TABLE|INDEX|VIEW|TRIGGER|FUNCTION|PROCEDURE|SEQUENCE|TYPE|DOMAIN|ROLE|USER|DATABASE"
    r"|SCHEMA|EVENT|STATISTICS|POLICY|COLLATION|AGGREGATE|CAST|OPERATOR)\b",
    re.IGNORECASE,
)
_FILLED = re.compile(
    r"CREATE (?:\w+ )*?(?:TABLE|MATERIALIZED VIEW)\b"
    r".*(?:\bSELECT\b|\bAS ?\(* ?(?:WITH|VALUES|EXECUTE|TABLE)\b)",
    re.IGNORECASE | re.DOTALL,
)


def _copy(statement: str, dialect: str) -> Touched:
    query = re.fullmatch(r"COPY \((.*)\) TO\b.*", statement, re.IGNORECASE | re.DOTALL)
    if query is not None:
        return of_statement(query[1].strip(), dialect)
    table = re.match(
        rf"COPY {_NAME_IN_SQL} ?(?:\([^()]*\) ?)?(FROM|TO)\b", statement, re.IGNORECASE
    )
    if table is None or re.search(r"\bWHERE\b.*\(", statement, re.IGNORECASE):
        return EVERYTHING
    names = frozenset({_bare(table[1])})
    return Touched(inserts=names) if table[2].upper() == "FROM" else Touched(names)


def _load(statement: str, dialect: str) -> Touched:
    match = _LOAD.match(statement)
    if match is None:
        return EVERYTHING
    names = frozenset({_bare(match["table"])})
    touched = Touched(inserts=names)
    if match["replace"]:
        touched |= Touched(names, names, names, names)
    if assignments := re.search(r"\bSET (.*)", statement[match.end() :], re.IGNORECASE):
        change = of_query(f"UPDATE x SET {assignments[1]}", dialect)  # noqa: S608 - not sent
        touched |= Touched(change.reads - {"x"}, is_opaque=change.is_opaque)
    return touched


_LOAD = re.compile(
    r"LOAD (?:DATA|XML) (?:LOW_PRIORITY |CONCURRENT )?(?:LOCAL )?INFILE '' ?"
    rf"(?:(?P<replace>REPLACE)|IGNORE)? ?INTO TABLE (?P<table>{_NAME_IN_SQL})",
    re.IGNORECASE,
)


def _explain(statement: str, dialect: str) -> Touched:
    """Explaining is harmless, unless it is done by running the statement."""
    rest = _EXPLAIN.sub("", statement)
    if re.search(r"\bANALY[SZ]E\b", statement[: len(statement) - len(rest)], re.IGNORECASE):
        return of_statement(rest, dialect)
    return EVERYTHING if _ANALYZE_LATER.match(rest) else NOTHING


_EXPLAIN = re.compile(
    r"(?:EXPLAIN|DESCRIBE|DESC)\b ?"
    r"(?:\([^()]*\) ?|(?:ANALY[SZ]E|VERBOSE|EXTENDED|PARTITIONS|QUERY PLAN"
    r"|FORMAT ?= ?(?:\w+|'')) )*",
    re.IGNORECASE,
)
_ANALYZE_LATER = re.compile(r"ANALY[SZ]E\b", re.IGNORECASE)


def _analyze(statement: str, dialect: str) -> Touched:
    """Analyze a table, or, in MariaDB, run a statement."""
    run = re.match(
        r"ANALYZE (?:FORMAT ?= ?(?:\w+|'') )?(?=(?:SELECT|INSERT|REPLACE|UPDATE|DELETE|WITH|\())",
        statement,
        re.IGNORECASE,
    )
    if run is None or dialect not in _MYSQL:
        return NOTHING
    return of_statement(statement[run.end() :], dialect)


_MYSQL = frozenset({"mysql", "mariadb"})


def _set(statement: str, dialect: str) -> Touched:
    """Set a variable; in MySQL the value may be an expression that calls functions."""
    if dialect not in _MYSQL:
        return NOTHING
    run = re.match(r"SET STATEMENT\b.*? FOR (.*)", statement, re.IGNORECASE | re.DOTALL)
    if run is not None:
        return of_statement(run[1], dialect)
    return of_query(statement, dialect) if "(" in statement else NOTHING


def _declare(statement: str, dialect: str) -> Touched:
    cursor = re.match(r"DECLARE\b.*?\bCURSOR\b.*? FOR (.*)", statement, re.IGNORECASE | re.DOTALL)
    return EVERYTHING if cursor is None else of_statement(cursor[1], dialect)


def _refresh(statement: str, _dialect: str) -> Touched:
    view = re.match(
        rf"REFRESH MATERIALIZED VIEW (?:CONCURRENTLY )?{_NAME_IN_SQL}", statement, re.IGNORECASE
    )
    if view is None:
        return EVERYTHING
    names = frozenset({_bare(view[1])})
    return Touched(frozenset(), names, names, names)


def _rename(statement: str, _dialect: str) -> Touched:
    if not re.match(r"RENAME TABLES?\b", statement, re.IGNORECASE):
        return EVERYTHING
    found = re.findall(rf"(?:TABLES?|TO|,) {_NAME_IN_SQL}", statement, re.IGNORECASE)
    names = frozenset(map(_bare, found))
    return Touched(frozenset(), frozenset(), names, names)


def _only(pattern: str) -> Callable[[str, str], Touched]:
    """Make the rule for a word that is harmless in some statements only."""
    harmless = re.compile(pattern, re.IGNORECASE)
    return lambda statement, _dialect: NOTHING if harmless.fullmatch(statement) else EVERYTHING


_TRANSACTION = (
    r"(?: (?:TRANSACTION|WORK|DEFERRED|IMMEDIATE|EXCLUSIVE|CONCURRENT|ISOLATION|LEVEL|READ|WRITE"
    r"|ONLY|COMMITTED|UNCOMMITTED|REPEATABLE|SERIALIZABLE|NOT DEFERRABLE|DEFERRABLE|WITH"
    r"|CONSISTENT|SNAPSHOT|AND|NO|CHAIN|RELEASE),?)*"
)

_RULES: dict[str, Callable[[str, str], Touched]] = {
    **dict.fromkeys(
        ("SELECT", "VALUES", "TABLE", "WITH", "INSERT", "REPLACE", "UPDATE", "DELETE", "MERGE"),
        of_query,
    ),
    **dict.fromkeys(
        (
            *("SHOW", "PRAGMA", "USE", "SAVEPOINT", "RELEASE", "VACUUM"),
            *("REINDEX", "OPTIMIZE", "GRANT", "REVOKE", "COMMENT", "LOCK", "UNLOCK", "LISTEN"),
            *("UNLISTEN", "NOTIFY", "CHECKPOINT", "CLUSTER", "ATTACH", "DETACH", "RESET"),
            *("DEALLOCATE", "CLOSE", "KILL", "FLUSH", "CHECK"),
        ),
        _nothing,
    ),
    "ALTER": _alter,
    "ANALYSE": _nothing,
    "ANALYZE": _analyze,
    "BEGIN": _only(f"BEGIN{_TRANSACTION}"),
    "COMMIT": _only(rf"COMMIT{_TRANSACTION}|COMMIT PREPARED ''"),
    "COPY": _copy,
    "CREATE": _create,
    "DECLARE": _declare,
    "DESC": _explain,
    "DESCRIBE": _explain,
    "DROP": _drop,
    "END": _only(f"END{_TRANSACTION}"),
    "EXPLAIN": _explain,
    "LOAD": _load,
    "PREPARE": _only("PREPARE TRANSACTION ''"),
    "REFRESH": _refresh,
    "RENAME": _rename,
    "SET": _set,
    "START": _only(f"START TRANSACTION{_TRANSACTION}"),
    "TRUNCATE": _truncate,
    "XA": _only(r"XA (?:START|BEGIN|END|PREPARE|COMMIT|RECOVER)\b.*"),
}

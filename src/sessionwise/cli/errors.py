"""Errors that are the input's, each told in one line that says what to do; exit code 2."""

from __future__ import annotations

import logging
import re
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer
from sqlalchemy.exc import DBAPIError

from sessionwise.cli.interrupt import INTERRUPTED, ending_by_exception

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

__all__ = ["InputError", "told_in_one_line"]

BAD_INPUT = 2
"""The exit code of a command whose input is at fault."""


class InputError(Exception):
    """What the user wrote is at fault; the message says how, and what to write instead."""


@dataclass
class Subject:
    """What a command works on, for the messages."""

    url: URL | None = None
    """The database; None for a file of the command's own."""


@contextmanager
def told_in_one_line(*, debug: bool) -> Iterator[Subject]:
    """Tell an error of the input, or an interrupt, in one line, and exit with its code.

    Any other error is an error of ours, and passes.

    :param debug: print the traceback too.
    """
    subject = Subject()
    try:
        with ending_by_exception():
            yield subject
    except KeyboardInterrupt:
        # Sessions that were in the middle of something are collected after their connections have
        # been closed; the pool would tell of each.
        logging.getLogger("sqlalchemy.pool").addHandler(logging.NullHandler())
        _say("interrupted")
        raise typer.Exit(INTERRUPTED) from None
    except (InputError, DBAPIError) as error:
        if debug:
            traceback.print_exc()
        line = str(error) if isinstance(error, InputError) else explain(error, subject.url)
        _say("; ".join([line, *getattr(error, "__notes__", [])]))
        raise typer.Exit(BAD_INPUT) from None


def _say(line: str) -> None:
    typer.echo(f"sessionwise: {line}", err=True)


@dataclass(frozen=True)
class _Cause:
    what: str
    """What is wrong with the database, after its name."""
    step: str
    """What to do about it."""
    signs: frozenset[str | int]
    """Error codes that say so: SQLSTATE, MariaDB's numbers, SQLite's names."""


_UNREACHABLE = _Cause(
    "does not answer", "start it, or correct host and port in --db", frozenset({2003, 2006, 2013})
)
_REFUSED = _Cause(
    "refuses the connection",
    "correct user, password and database name in --db",
    frozenset({"28P01", "28000", "3D000", "53300", 1040, 1044, 1045, 1049, 1698}),
)
_FAILED = _Cause("reports an error", "--debug shows where", frozenset())
_CAUSES = (
    _UNREACHABLE,
    _REFUSED,
    _Cause(
        "is read-only",
        "give --db a database that can be written",
        frozenset({"25006", 1036, 1290, 1792, "SQLITE_READONLY"}),
    ),
    _Cause(
        "does not let this user create tables",
        "GRANT it, or give --db another user",
        frozenset({"42501", "3F000", 1142, 1227}),
    ),
    _Cause(
        "cannot be opened",
        "give --db a file in a directory that exists and can be written",
        frozenset({"SQLITE_CANTOPEN"}),
    ),
    _Cause("is no SQLite database", "give --db another file", frozenset({"SQLITE_NOTADB"})),
    _Cause(
        "is locked",
        "end the program that writes to it, and run the tour again",
        frozenset({"SQLITE_BUSY", "SQLITE_LOCKED"}),
    ),
)

_NAMES = {"postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}


def explain(error: DBAPIError, url: URL | None) -> str:
    """Say in one line which database has what, and what to do; never the password."""
    cause = _cause(error)
    return f"{_place(url)} {cause.what} ({_reason(error, url)}); {cause.step}"


def _cause(error: DBAPIError) -> _Cause:
    code = _code(error)
    for cause in _CAUSES:
        if code in cause.signs:
            return cause
    # What ends a connection at its beginning has no code in libpq: only the server says FATAL.
    if code is None and _SERVER_REFUSED.search(str(error.orig)):
        return _REFUSED
    return _UNREACHABLE if code is None or error.connection_invalidated else _FAILED


_SERVER_REFUSED = re.compile(r"FATAL:|no password supplied")


def _code(error: DBAPIError) -> str | int | None:
    """Return what the driver calls the error: a number, an SQLSTATE, or one of SQLite's names."""
    orig = error.orig
    if orig is not None and orig.args and isinstance(orig.args[0], int):
        return orig.args[0]
    if name := getattr(orig, "sqlite_errorname", None):
        return "_".join(name.split("_")[:2])  # without what an extended code adds
    code: str | None = getattr(orig, "sqlstate", None) or getattr(orig, "pgcode", None)
    return code


def _place(url: URL | None) -> str:
    if url is None:
        return "the temporary SQLite file"
    backend = url.get_backend_name()
    if backend == "sqlite":
        return f"{url.database}"
    host = url.host or url.query.get("host") or "localhost"
    return f"{_NAMES[backend]} at {host}:{url.port or _PORTS[backend]}"


def _reason(error: DBAPIError, url: URL | None) -> str:
    """Return the driver's own words, without what the line says already."""
    orig = error.orig
    words = str(orig.args[-1] if orig is not None and orig.args else orig)
    first, *_ = words.strip().splitlines() or [""]
    reason = re.sub(r"^.*failed: (FATAL:\s*)?", "", first)
    password = url.password if url is not None else None
    return reason.replace(str(password), "***") if password else reason

"""Errors that are the input's, each told in one line that says what to do; exit code 2."""

from __future__ import annotations

import errno
import logging
import re
import sys
import threading
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer
from sqlalchemy.exc import DBAPIError

from sessionwise.cli.interrupt import INTERRUPTED, ending_by_exception
from sessionwise.errors import (
    BulkInputError,
    CommitUnknownError,
    LoadError,
    OptionError,
    UnsupportedError,
)

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
    option: str = "--db"
    """The option that names the database."""
    command: str = "tour"
    """What is to be run again."""
    has_answered: bool = False
    """Whether there was a connection to it."""


@contextmanager
def told_in_one_line(*, debug: bool) -> Iterator[Subject]:
    """Tell an error of the input, or an interrupt, in one line, and exit with its code.

    Any other error is an error of ours, and passes.

    :param debug: print the traceback too.
    """
    subject = Subject()
    if not debug:
        # Connections that are lost or interrupted cannot be closed as others are, and the pool
        # would show a traceback for each.
        logging.getLogger("sqlalchemy.pool").addHandler(_SILENT)
    asked = threading.Event()
    try:
        with ending_by_exception() as asked:
            yield subject
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, KeyboardInterrupt) or asked.is_set():
            _ignore_what_is_collected()
            _say("; ".join(["interrupted", *_notes(error)]))
            raise typer.Exit(INTERRUPTED) from None
        if not _is_told(error):
            raise
        if debug:
            traceback.print_exc()
        elif isinstance(error, DBAPIError) and error.connection_invalidated:
            _ignore_what_is_collected()
        _say("; ".join([_line(error, subject), *_notes(error)]))
        raise typer.Exit(BAD_INPUT) from None


_SILENT = logging.NullHandler()
_TOLD = (
    InputError,
    DBAPIError,
    BulkInputError,
    CommitUnknownError,
    LoadError,
    OptionError,
    UnsupportedError,
)
"""Errors that are of the input, or of the database."""
_STEPS = {
    errno.EACCES: "correct its permissions",
    errno.EDQUOT: "make room, or name a file somewhere else",
    errno.EFBIG: "name a file where it may be as large",
    errno.EIO: "look at the disk that it is on",
    errno.EISDIR: "name a file in it",
    errno.ENAMETOOLONG: "shorten its name",
    errno.ENOENT: "correct its name",
    errno.ENOSPC: "make room, or name a file somewhere else",
    errno.ENOTDIR: "correct its name",
    errno.EPERM: "correct its permissions",
    errno.EROFS: "name a file somewhere else",
}
"""What the system says of the user's files, and what to do then; nothing else it says is told."""


def _is_told(error: Exception) -> bool:
    if isinstance(error, _TOLD):
        return True
    if isinstance(error, ImportError):
        return error.name is None  # ours, which says what to install: Python's name the module
    return isinstance(error, OSError) and error.errno in _STEPS


def _line(error: Exception, subject: Subject) -> str:
    if isinstance(error, DBAPIError) and not isinstance(error, CommitUnknownError):
        return explain(error, subject)
    if isinstance(error, OSError) and not isinstance(error, _TOLD):
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror}; {_STEPS[error.errno or 0]}"
    line = _SWITCH.sub(_option, " ".join(str(error).split()))
    if isinstance(error, (LoadError, OptionError)):  # any other one quotes what is in files
        line = _WITH_VALUE.sub(lambda found: f"{_option(found)} ", line)
    return _KEYWORD.sub(_option, line)


_NAMES = (
    "columns|commit_every|delimiter|encoding|format|header|jobs|max_errors|null|rejects|resume"
)
_KEYWORD = re.compile(rf"\b({_NAMES})=(?=[,;:]|\s|$)")
_WITH_VALUE = re.compile(rf"\b({_NAMES})=(?=\w|')")
_SWITCH = re.compile(r"\b(resume|restart|upsert)=True\b")
"""How the library calls what is an option here."""


def _option(found: re.Match[str]) -> str:
    return f"--{found[1].replace('_', '-')}"


def _ignore_what_is_collected() -> None:
    # PyMySQL's cursors read their remaining rows when they are collected, and fail if their
    # connection is gone: Python would show a traceback, which nobody can do anything about.
    sys.unraisablehook = lambda _: None


def _notes(error: BaseException) -> list[str]:
    return [_SWITCH.sub(_option, note) for note in getattr(error, "__notes__", [])]


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
    "does not answer",
    "start it, or correct host and port in {option}",
    frozenset({2003, 2006, 2013, "57P03"}),
)
_REFUSED = _Cause(
    "refuses the connection",
    "correct user, password and database name in {option}",
    frozenset({"28P01", "28000", "3D000", "53300", 1040, 1044, 1045, 1049, 1698}),
)
_LOST = _Cause(
    "has ended the connection",
    "look whether it runs, and run the {command} again",
    frozenset({"57P01", "57P02"}),
)
_NO_ROOM = _Cause(
    "has no room left",
    "make room on its disk, and run the {command} again",
    frozenset({"53100", 1021, 1114, "SQLITE_FULL"}),
)
_FAILED = _Cause("reports an error", "--debug shows where", frozenset())
_CAUSES = (
    _UNREACHABLE,
    _LOST,
    _REFUSED,
    _Cause(
        "is read-only",
        "give {option} a database that can be written",
        frozenset({"25006", 1036, 1290, 1792, "SQLITE_READONLY"}),
    ),
    _Cause(
        "does not let this user create tables",
        "GRANT it, or give {option} another user",
        frozenset({"42501", "3F000", 1142, 1227}),
    ),
    _Cause(
        "cannot be opened",
        "give {option} a file in a directory that exists and can be written",
        frozenset({"SQLITE_CANTOPEN"}),
    ),
    _Cause("is no SQLite database", "give {option} another file", frozenset({"SQLITE_NOTADB"})),
    _NO_ROOM,
    # SQLite says so of a full disk, and this of a quota, of a limit and of a disk that is broken.
    _Cause(
        "cannot be read or written",
        "look at its disk, its quota and the limit for the size of files",
        frozenset({"SQLITE_IOERR"}),
    ),
    _Cause(
        "is locked",
        "end the program that writes to it, and run the {command} again",
        frozenset({"SQLITE_BUSY", "SQLITE_LOCKED"}),
    ),
)

_TITLES = {"postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}


def explain(error: DBAPIError, subject: Subject) -> str:
    """Say in one line which database has what, and what to do; never the password."""
    cause, url = _cause(error, has_answered=subject.has_answered), subject.url
    step = cause.step.format(option=subject.option, command=subject.command)
    return f"{_place(url)} {cause.what} ({_reason(error, url)}); {step}"


def _cause(error: DBAPIError, *, has_answered: bool) -> _Cause:
    code = _code(error)
    if error.connection_invalidated and has_answered:
        return _LOST
    # MariaDB has a number for each of its files that cannot be written, and the system's words.
    no_room = "No space left on device" in str(error.orig)
    for cause in _CAUSES:
        if code in cause.signs or (no_room and cause is _NO_ROOM):
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
    return f"{_TITLES[backend]} at {host}:{url.port or _PORTS[backend]}"


def _reason(error: DBAPIError, url: URL | None) -> str:
    """Return the driver's own words, without what the line says already."""
    orig = error.orig
    words = str(orig.args[-1] if orig is not None and orig.args else orig)
    first, *_ = words.strip().splitlines() or [""]
    reason = re.sub(r"^.*failed: (FATAL:\s*)?", "", first)
    password = url.password if url is not None else None
    return reason.replace(str(password), "***") if password else reason

"""From what a user writes after ``--db`` to a URL that an engine can be made of."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from sessionwise.cli.errors import InputError

__all__ = ["checked_url"]

_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
"""The databases, each with the driver that our extras install for it."""

_EXTRAS = {
    "psycopg": "postgresql",
    "psycopg2": "psycopg2",
    "asyncpg": "asyncpg",
    "pymysql": "mariadb",
}
"""The extra that installs a driver."""


def checked_url(text: str, option: str = "--db", command: str = "tour") -> sa.URL:
    """Return the URL, with a driver that is there and that is not for asyncio.

    A URL without a driver gets the one that our extras install.

    :param option: what the user has written it after.
    :param command: the command that it is for.
    :raises InputError: where the URL does not parse, names a database or a driver that is not
      there, or a driver for asyncio. The message repeats nothing that may hold a password.
    """
    url = _parsed(text, option)
    backend = url.get_backend_name()
    if backend not in _DRIVERS:
        raise InputError(
            f"there is no {command} on {backend!r}; it runs on {', '.join(_DRIVERS)}, "
            f"for instance {option} postgresql://user@host/name"
        )
    if url.drivername == backend:
        url = url.set(drivername=_DRIVERS[backend])
    _check_driver(url, backend, option, command)
    return url


def _parsed(text: str, option: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except (ArgumentError, ValueError):
        # ValueError shows a port that is no number, which may be a part of the password: it
        # is where a password with an @ in it is cut in two.
        url = None
    if url is None or "@" in (url.host or ""):
        raise InputError(
            f"{option} is not a database URL; write it as "
            "postgresql://user:password@host:5432/name or sqlite:///file.db, and an @ in the "
            "password as %40"
        )
    return url


def _check_driver(url: sa.URL, backend: str, option: str, command: str) -> None:
    driver = url.drivername.partition("+")[2]
    advice = f"{_DRIVERS[backend]}://…"
    try:
        dialect = url.get_dialect()
    except NoSuchModuleError:
        raise InputError(
            f"SQLAlchemy knows no driver {driver!r} for {backend}; use {option} {advice}"
        ) from None
    if dialect.is_async:
        raise InputError(
            f"{driver} is a driver for asyncio, the {command} needs the other kind: {advice}"
        )
    try:
        dialect.import_dbapi()
    except ImportError as error:
        extra = _EXTRAS.get(driver)
        step = (
            f"run: pip install 'sessionwise[{extra}]'"
            if extra
            else f"install it, or use {option} {advice}"
        )
        raise InputError(f"the driver {driver} is not installed; {step}") from error

"""Makes what records in a database: the audit's tables, functions and triggers; and removes it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import Connection, Engine, event, inspect
from sqlalchemy.exc import DBAPIError

from sessionwise import dialects
from sessionwise.audit.tables import METADATA
from sessionwise.dialects.traits import sqlstate
from sessionwise.errors import OptionError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import MetaData, Table

    from sessionwise.audit.coverage import Capture, Coverage, Covered
    from sessionwise.audit.triggers.artifact import Artifact, Bodies

__all__ = [
    "begin",
    "bodies_for",
    "connected",
    "install",
    "listen_to_create",
    "send",
    "uninstall",
    "wanted",
]

_REMOVED = ("trigger", "function", "view", "table")
"""In which order kinds of artifacts are removed."""
_NO_RIGHTS = "42501"
"""PostgreSQL's SQLSTATE for what this user may not do."""
_NO_RIGHTS_MYSQL = frozenset({1044, 1142, 1227, 1370, 1419})
"""The numbers of MariaDB's errors that say the same; 1419: of triggers where there is a log."""
_LOCK = "sessionwise audit"


def bodies_for(dialect: str) -> Bodies:
    """Return what makes triggers in the databases of a dialect.

    :raises UnsupportedError: where we have none for it.
    """
    if dialect == "postgresql":
        from sessionwise.audit.triggers import postgresql

        return postgresql
    if dialect == "sqlite":
        from sessionwise.audit.triggers import sqlite

        return sqlite
    if dialect in {"mysql", "mariadb"}:
        from sessionwise.audit.triggers import mysql

        return mysql
    raise UnsupportedError(
        f"there are no triggers of the audit for {dialect}; use Audit(capture='session'), which "
        "records what goes through sessions"
    )


def wanted(coverage: Coverage, bodies: Bodies, capture: Capture) -> list[Artifact]:
    """Return all that is to be there, in the order in which it is made."""
    found = list(bodies.shared(coverage))
    for covered in coverage:
        found += of(covered, coverage, bodies, capture)
    return found


def of(
    covered: Covered, coverage: Coverage, bodies: Bodies, capture: Capture
) -> Sequence[Artifact]:
    """Return what records one table; nothing, where the session has to."""
    try:
        return bodies.of(covered, coverage)
    except UnsupportedError:
        if capture == "trigger":
            raise
        return ()


@contextmanager
def connected(bind: Any) -> Iterator[Connection]:
    """Give a connection: of an engine, in a transaction that is committed; or the caller's own.

    :raises OptionError: for an ``AsyncEngine`` or ``AsyncConnection``, and for anything else.
    """
    if isinstance(bind, Connection):
        yield bind
    elif isinstance(bind, Engine):
        with bind.begin() as connection:
            yield connection
    elif hasattr(bind, "sync_engine"):
        raise OptionError(
            f"{type(bind).__name__} is asynchronous; give the connection inside of run_sync: "
            "async with engine.begin() as connection: await connection.run_sync(audit.install)"
        )
    else:
        raise OptionError(f"{bind!r} is neither an Engine nor a Connection; give one of these")


def install(connection: Connection, coverage: Coverage, capture: Capture) -> None:
    """Make what is missing or stale, and remove what is left over."""
    coverage.check()
    with _with_rights():
        begin(connection)
        if capture == "session":
            METADATA.create_all(connection)
            return
        bodies = bodies_for(connection.dialect.name)
        artifacts = wanted(coverage, bodies, capture)
        _check_tables(connection, coverage)
        METADATA.create_all(connection)
        _replace(connection, coverage, bodies, artifacts)


def _check_tables(connection: Connection, coverage: Coverage) -> None:
    """See to it that the audited tables are there before a trigger is made on one of them."""
    there = inspect(connection)
    missing = [
        covered.name
        for covered in coverage
        if not there.has_table(covered.table.name, schema=covered.table.schema)
    ]
    if missing:
        raise OptionError(
            f"{', '.join(missing)}: audited, and not in this database. Create the tables before "
            "audit.install, or call audit.listen_to_create before create_all"
        )


def _replace(
    connection: Connection, coverage: Coverage, bodies: Bodies, artifacts: Sequence[Artifact]
) -> None:
    present = bodies.present(connection, coverage)
    keys = {artifact.key for artifact in artifacts}
    # Triggers go before the functions that they call.
    for key in sorted(present.keys() - keys, key=lambda key: key[0] != "trigger"):
        send(connection, bodies.removal(key))
    for artifact in artifacts:
        if present.get(artifact.key) != artifact.digest:
            send(connection, artifact.create)


def uninstall(connection: Connection, coverage: Coverage, *, drop_tables: bool) -> None:
    """Remove every trigger of the audit; its tables, with all that is recorded, only if told."""
    bodies = bodies_for(connection.dialect.name)
    with _with_rights():
        begin(connection)
        present = bodies.present(connection, coverage)
        for key in sorted(present, key=lambda key: _REMOVED.index(key[0])):
            send(connection, bodies.removal(key))
        if drop_tables:
            METADATA.drop_all(connection)


def listen_to_create(metadata: MetaData, coverage: Coverage, capture: Capture) -> None:
    """Have ``create_all`` and ``Table.create`` make triggers with the tables."""

    def before(target: Table, connection: Connection, **_: Any) -> None:
        METADATA.create_all(connection)

    def after(target: Table, connection: Connection, **_: Any) -> None:
        covered = coverage.of(target)
        if covered is None or capture == "session":
            return
        bodies = bodies_for(connection.dialect.name)
        with _with_rights():
            for artifact in (
                *bodies.shared(coverage),
                *of(covered, coverage, bodies, capture),
            ):
                send(connection, artifact.create)

    def attend(*_: Any, **__: Any) -> None:
        for covered in coverage:
            if id(covered.table) not in heard:
                heard.add(id(covered.table))
                event.listen(covered.table, "before_create", before)
                event.listen(covered.table, "after_create", after)

    heard: set[int] = set()
    attend()
    event.listen(metadata, "before_create", attend)  # tables that have come since


def send(connection: Connection, statements: Iterable[str]) -> None:
    """Send statements as they are: a percent sign is none of a parameter."""
    for statement in statements:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def begin(connection: Connection) -> None:
    """Keep another installation out until the transaction ends, where DDL is transactional."""
    if connection.dialect.name == "postgresql":
        dialects.of(connection.dialect).take_lock(connection, _LOCK, wait=True)
    elif connection.dialect.name == "sqlite":
        driver_connection: Any = connection.connection.driver_connection
        if not driver_connection.in_transaction:  # sqlite3 begins none for DDL
            send(connection, ["BEGIN IMMEDIATE"])


@contextmanager
def _with_rights() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if not _lacks_rights(error):
            raise
        _refuse(error)


def _lacks_rights(error: DBAPIError) -> bool:
    orig: Any = error.orig
    return (
        sqlstate(orig) == _NO_RIGHTS
        or (orig.args and orig.args[0] in _NO_RIGHTS_MYSQL)
        or "readonly database" in str(orig)
    )


def _refuse(error: DBAPIError) -> NoReturn:
    raise UnsupportedError(
        f"this user may not make what the audit needs in the database ({error.orig}). Let one who "
        "may call audit.install, or use Audit(capture='session'), which needs no triggers"
    ) from error

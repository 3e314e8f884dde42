"""An audit of ``tests.archive``, installed for as long as a block lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import select

from sessionwise.audit import Audit, AuditLog, AuditTransaction
from sessionwise.audit.tables import METADATA
from tests.archive import Base


@contextmanager
def installed(db: Any, capture: Any = "trigger", **options: Any) -> Iterator[Audit]:
    """Give an audit by one of the two engines; its tables are there, and empty."""
    audit = Audit(Base.metadata, capture=capture, **options)
    observer = db.observer
    remove(observer)
    Base.metadata.create_all(observer)
    audit.install(observer)
    db.dispose()  # asyncpg knows types by their numbers, which are others now
    try:
        yield audit
    finally:
        if capture == "trigger":
            audit.uninstall(observer)
        remove(observer)


def remove(observer: Any) -> None:
    Base.metadata.drop_all(observer)
    METADATA.drop_all(observer)


def history(db: Any, audit: Audit, session: Any, *about: Any) -> Any:
    """Ask for a history, of a session of either kind."""
    if not db.driver.is_async:
        return audit.history(session, *about)
    return db.run(audit.history(session.target, *about))


def changes(db: Any, audit: Audit, session: Any, **wanted: Any) -> list[Any]:
    """Ask for changes, one by one, of a session of either kind."""
    if not db.driver.is_async:
        return list(audit.changes(session, **wanted))

    async def ask() -> list[Any]:
        return [change async for change in audit.changes(session.target, **wanted)]

    return db.run(ask())


def sendable(db: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a driver cannot send: aiomysql has no bytes with a new PyMySQL."""
    return {**values, "raw": None} if db.driver.name == "aiomysql" else values


def empty(db: Any) -> None:
    """Empty the archive and its audit."""
    with db.observer.begin() as connection:
        for table in (*reversed(Base.metadata.sorted_tables), *METADATA.sorted_tables):
            connection.execute(table.delete())


def told(db: Any) -> list[tuple[Any, ...]]:
    """Return who has changed what, in its order: the name of the row, the actor, the reason."""
    log, said = AuditLog.__table__, AuditTransaction.__table__
    with db.observer.connect() as connection:
        found = connection.execute(
            select(log.c.object_id, said.c.actor, said.c.reason)
            .join(said, said.c.id == log.c.transaction_id)
            .order_by(log.c.id)
        )
        return [tuple(row) for row in found]

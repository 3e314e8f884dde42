"""What the tests of the session's capture share: an audited session, and what it has recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event, select

from sessionwise.audit import Audit, AuditLog, AuditTransaction
from sessionwise.audit.tables import METADATA
from tests.archive import Account, Base
from tests.backends import Database

Rows = dict[str, dict[str, Any]]
"""The rows of each table, by ``object_id``."""


@contextmanager
def archive(database: Database) -> Iterator[Any]:
    """Make the tables of the archive and those of the audit; give an engine that sees them."""
    drop(database)
    Base.metadata.create_all(database.observer)
    METADATA.create_all(database.observer)
    engine = database.new_engine()
    sync = getattr(engine, "sync_engine", engine)
    if sync.dialect.name == "sqlite":
        event.listen(sync, "connect", _check_foreign_keys)
    yield engine
    database.dispose(engine)
    drop(database)


def drop(database: Database) -> None:
    Base.metadata.drop_all(database.observer)
    METADATA.drop_all(database.observer)


def _check_foreign_keys(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


class Archive:
    """The archive in one database, empty, and an audit of it by its sessions."""

    def __init__(self, database: Database, engine: Any, **options: Any) -> None:
        self.database = database
        self.engine = engine
        given: dict[str, Any] = {
            "capture": "session",
            "exclude": [Account.password],
            "redact": [Account.email],
        }
        self.audit = Audit(Base.metadata, **given | options)
        with database.observer.begin() as connection:
            for metadata in (Base.metadata, METADATA):
                for table in reversed(metadata.sorted_tables):
                    connection.execute(table.delete())
        self._seen = 0

    @property
    def server(self) -> str:
        return self.database.driver.server

    def session(self, **options: Any) -> Any:
        return self.database.session(self.engine, audit=self.audit, **options)

    def run(self, function: Any) -> Any:
        """Call a function with a session, in one unit of work."""
        with self.session() as session:
            if self.database.driver.is_async:
                result = session.run_sync(function)
            else:
                result = function(session)
            session.commit()
        return result

    def statements(self) -> Any:
        return self.database.statements(self.engine)

    def news(self) -> list[tuple[Any, ...]]:
        """Return what was recorded since it was last asked: action, table, id, old and new."""
        found = self.log(self._seen)
        if found:
            self._seen = found[-1].id
        return [(one.action, one.table, one.object_id, old(one), new(one)) for one in found]

    def log(self, after: int = 0) -> list[Any]:
        statement = select(*AuditLog.__table__.c).where(AuditLog.id > after).order_by(AuditLog.id)
        with self.database.observer.connect() as connection:
            return list(connection.execute(statement))

    def transactions(self) -> list[Any]:
        with self.database.observer.connect() as connection:
            return list(
                connection.execute(
                    select(*AuditTransaction.__table__.c).order_by(AuditTransaction.id)
                )
            )

    def contents(self, *tables: Any) -> Rows:
        """Return what some tables hold, of integers and texts."""
        found: Rows = {}
        with self.database.observer.connect() as connection:
            for table in tables:
                names = [one.name for one in table.primary_key]
                rows = connection.execute(select(table)).mappings()
                found[table.name] = {_id([row[n] for n in names]): dict(row) for row in rows}
        return found


def old(one: Any) -> Any:
    return _json(one.old)


def new(one: Any) -> Any:
    return _json(one.new)


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _id(key: list[Any]) -> str:
    if len(key) == 1:
        return key[0] if isinstance(key[0], str) else json.dumps(key[0])
    return json.dumps(key)


def replay(log: list[Any], before: Rows) -> Rows:
    """Make what was recorded of what there was; each change must fit what it is made from."""
    state: Rows = {table: dict(rows) for table, rows in before.items()}
    for one in log:
        rows = state.setdefault(one.table, {})
        if one.action in {"INSERT", "LINK"}:
            assert one.object_id not in rows, (one, rows)
            rows[one.object_id] = new(one)
        elif one.action in {"DELETE", "UNLINK"}:
            assert rows.pop(one.object_id) == old(one), one
        else:
            row = rows.pop(one.previous_id or one.object_id)
            assert row == old(one), one
            assert new(one), one
            rows[one.object_id] = {**row, **new(one)}
    return state

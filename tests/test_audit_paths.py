"""Each road by which rows change, by each engine, on each database: recorded once, or refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path as File
from typing import Any

import pytest
from sqlalchemy import delete, event, select
from sqlalchemy.orm import object_session

from sessionwise.audit import Audit, AuditLog, AuditTransaction
from sessionwise.errors import UnauditedWriteError
from tests.archive import EDGES, NOTHING, PLENTY, Base, Sample
from tests.audit_paths import CAPTURES, PATHS, Path, Record, fill, in_sync, table

PAGE = File(__file__).parent.parent / "docs" / "audit-write-paths.md"


@pytest.fixture(scope="module", params=CAPTURES)
def capture(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def audit(database: Any, capture: str) -> Iterator[Audit]:
    """Give an audit of the archive by one of the two engines, installed."""
    found = Audit(Base.metadata, capture=capture)
    observer = database.observer
    Base.metadata.create_all(observer)
    found.install(observer)
    yield found
    found.uninstall(observer, drop_tables=True)
    Base.metadata.drop_all(observer)


@pytest.fixture(scope="module")
def engine(database: Any) -> Iterator[Any]:
    """Give an engine of the module's own; on SQLite one that looks at foreign keys."""
    made = database.new_engine()
    if database.driver.server == "sqlite":
        event.listen(getattr(made, "sync_engine", made), "connect", _with_foreign_keys)
    yield made
    database.dispose(made)


def _with_foreign_keys(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


@pytest.fixture
def archive(db: Any, audit: Audit) -> Any:
    """Give a database whose archive has some rows, and whose audit has none."""
    with db.observer.begin() as connection:
        fill(connection)
        connection.execute(delete(AuditLog))
        connection.execute(delete(AuditTransaction))
    return db


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_every_road_is_recorded_once_or_refused(
    archive: Any, engine: Any, audit: Audit, capture: str, path: Path
) -> None:
    server = archive.driver.server
    if server not in path.servers:
        pytest.skip(f"{server} has no such thing")
    before = _rows(archive)
    if path.is_refused(capture, server):
        with archive.session(engine, audit=audit) as session, pytest.raises(UnauditedWriteError):
            path.run(archive, session)
            session.commit()
        assert _rows(archive) == before
        assert _records(archive) == []
        return
    with archive.session(engine, audit=audit) as session:
        path.run(archive, session)
        session.commit()
    expected = _sorted(path.records)
    assert _records(archive) == expected
    assert len(_transactions(archive)) == (1 if expected else 0)
    assert (_rows(archive) == before) == (not expected)


@pytest.mark.parametrize("row", [PLENTY, EDGES, NOTHING], ids=["plenty", "edges", "nothing"])
def test_a_value_of_every_type_is_recorded(
    archive: Any, engine: Any, audit: Audit, row: dict[str, Any]
) -> None:
    other = NOTHING if row is PLENTY else PLENTY
    if archive.driver.name == "aiomysql":  # this release of it cannot send bytes at all
        row, other = {**row, "raw": None}, {**other, "raw": None}
    with archive.session(engine, audit=audit) as session:
        session.add(sample := Sample(id=1, **row))
        session.commit()
        stored = archive.inside(session, lambda: _values(object_session(sample), sample))
        for name, value in other.items():
            setattr(sample, name, value)
        session.commit()
        changed = archive.inside(session, lambda: _values(object_session(sample), sample))
        session.delete(sample)
        session.commit()
        added, updated, deleted = in_sync(
            archive, session, lambda sync: audit.history(sync, Sample, 1)
        )
    assert added.new == stored
    assert updated.old == stored
    assert updated.new == {
        name: changed[name] for name in changed if changed[name] != stored[name]
    }
    assert deleted.old == changed


def _values(session: Any, sample: Sample) -> dict[str, Any]:
    """Return what the database has, as the ORM reads it."""
    session.refresh(sample)
    return {name: getattr(sample, name) for name in ("id", *PLENTY)}


def test_the_documentation_has_the_table() -> None:
    assert table() in PAGE.read_text(encoding="utf-8")


def _records(db: Any) -> list[Record]:
    with db.observer.connect() as connection:
        found = connection.execute(select(*AuditLog.__table__.columns)).all()
    return _sorted(
        Record(
            one.action,
            one.table,
            one.object_id,
            _plain(one.old),
            _plain(one.new),
            one.previous_id,
        )
        for one in found
    )


def _transactions(db: Any) -> list[Any]:
    with db.observer.connect() as connection:
        return list(connection.execute(select(AuditTransaction.id)))


def _plain(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _sorted(records: Any) -> list[Record]:
    return sorted(records, key=repr)


def _rows(db: Any) -> list[Any]:
    with db.observer.connect() as connection:
        return [
            sorted(map(tuple, connection.execute(select(table))), key=repr)
            for table in Base.metadata.sorted_tables
        ]

"""The base line: what was there before the audit was is recorded, once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select, text

from sessionwise.audit import Audit, AuditLog, AuditTransaction, actor
from sessionwise.audit.triggers import backfill
from tests.archive import Author, Base, Book, Page, Tag, book_tags
from tests.audited import remove
from tests.backends import Database, on

on_each = on("sqlite3", "psycopg", "pymysql")
on_transactional = on("sqlite3", "psycopg", "psycopg2")


@pytest.fixture
def bare(db: Database) -> Iterator[Database]:
    """Give a database with the tables of the archive, empty, and without an audit."""
    remove(db.observer)
    Base.metadata.create_all(db.observer)
    db.dispose()  # asyncpg knows types by their numbers, which are others now
    yield db
    Audit(Base.metadata).uninstall(db.observer, drop_tables=True)
    remove(db.observer)


def records(db: Database) -> list[Any]:
    with db.observer.connect() as connection:
        log = AuditLog.__table__.c
        return list(
            connection.execute(
                select(log.action, log.table, log.object_id).order_by(log.table, log.id)
            )
        )


def zone(db: Database) -> str:
    with db.observer.connect() as connection:
        return str(connection.exec_driver_sql("SHOW TimeZone").scalar())


class TestBackfill:
    def fill(self, db: Database) -> None:
        with db.observer.begin() as connection:
            connection.execute(
                Author.__table__.insert(),
                [{"id": n, "name": f"{n}", "balance": n} for n in range(1, 8)],
            )
            connection.execute(
                Page.__table__.insert(),
                [{"number": n, "side": s, "words": "x"} for n in (1, 2) for s in ("a", "b", "c")],
            )
            connection.execute(Book.__table__.insert(), {"id": 1, "author_id": 1, "title": "t"})
            connection.execute(
                Tag.__table__.insert(), [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}]
            )
            connection.execute(
                book_tags.insert(), [{"book_id": 1, "tag_id": 1}, {"book_id": 1, "tag_id": 2}]
            )

    @on_each
    def test_records_each_row_once(self, bare: Database, monkeypatch: Any) -> None:
        monkeypatch.setattr(backfill, "BATCH", 3)
        audit = Audit(Base.metadata)
        self.fill(bare)
        audit.install(bare.engine)
        with bare.session(audit=audit) as session:
            session.get(Author, 2).balance = 20
            session.add(Author(id=8, name="8"))
            session.commit()
        with actor("alice"):
            counts = audit.backfill(bare.engine)
        assert {name: count for name, count in counts.items() if count} == {
            "authors": 6,
            "pages": 6,
            "books": 1,
            "tags": 2,
            "book_tags": 2,
        }
        found = records(bare)
        assert len([one for one in found if one.table == "authors"]) == 8
        assert {one.object_id for one in found if one.table == "pages"} == {
            f'[{n}, "{s}"]' for n in (1, 2) for s in "abc"
        }
        assert {one.action for one in found if one.table == "book_tags"} == {"LINK"}
        assert len(found) == len(set(found)) == 19
        with bare.observer.connect() as connection:
            log, said = AuditLog.__table__.c, AuditTransaction.__table__.c
            query = select(said.actor, said.reason, func.count(log.id)).join(
                AuditLog.__table__, log.transaction_id == said.id
            )
            groups = list(
                connection.execute(
                    query.where(said.reason == "backfill").group_by(
                        said.id, said.actor, said.reason
                    )
                )
            )
            assert {tuple(one[:2]) for one in groups} == {("alice", "backfill")}
            assert max(one[2] for one in groups) == 3
            empty = select(func.count()).where(~said.id.in_(select(log.transaction_id)))
            assert connection.scalar(empty) == 0
        assert sum(audit.backfill(bare.engine).values()) == 0
        assert len(records(bare)) == 19

    @on_transactional
    def test_in_the_callers_transaction(self, bare: Database) -> None:
        audit = Audit(Base.metadata)
        self.fill(bare)
        audit.install(bare.engine)
        with bare.connection() as connection:
            assert audit.backfill(connection)["authors"] == 7
            if bare.driver.server == "postgresql":
                assert connection.exec_driver_sql("SHOW TimeZone").scalar() == zone(bare)
        assert records(bare) == []

    @on("psycopg")
    def test_waits_for_who_writes(self, bare: Database) -> None:
        audit = Audit(Base.metadata)
        self.fill(bare)
        audit.install(bare.engine)
        counts: dict[str, int] = {}
        with bare.session(audit=audit) as session:
            session.execute(text("UPDATE authors SET balance = 100"))
            running = threading.Thread(target=lambda: counts.update(audit.backfill(bare.engine)))
            running.start()
            running.join(0.5)
            assert running.is_alive()
            session.commit()
        running.join()
        assert counts["authors"] == 0
        assert len([one for one in records(bare) if one.table == "authors"]) == 7

"""Behind a PgBouncer in transaction mode nobody is taken for the client before."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text

from sessionwise.audit import Audit, actor
from tests import servers
from tests.archive import Author
from tests.audited import empty, installed, told
from tests.backends import Database, on
from tests.pgbouncer import pgbouncer


@pytest.fixture(scope="module")
def audit(database: Database) -> Iterator[Audit]:
    with installed(database) as audit:
        yield audit


@pytest.fixture
def archive(db: Database, audit: Audit) -> Database:
    """Give a database whose archive and audit are empty."""
    empty(db)
    return db


def author(ident: int) -> Author:
    return Author(id=ident, name=f"author {ident}")


@contextmanager
def behind_pgbouncer(db: Database, connections: int) -> Iterator[Any]:
    try:
        with pgbouncer(db.url, connections) as url:
            options = {"prepare_threshold": None} if db.driver.name == "psycopg" else {}
            engine = db.new_engine(url, connect_args=options, pool_size=10)
            try:
                yield engine
            finally:
                db.dispose(engine)
    except servers.ServerUnavailable as unavailable:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(unavailable))


@on("psycopg", "psycopg2")
class TestPgBouncer:
    """In transaction mode another client's transaction follows on the same connection."""

    def test_nothing_leaks_to_the_next_client(self, archive: Database, audit: Audit) -> None:
        with behind_pgbouncer(archive, 1) as engine:
            with archive.session(engine, audit=audit) as first:
                with actor("alice"):
                    first.add(author(1))
                    first.commit()
                with archive.session(engine, audit=audit) as second:
                    second.add(author(2))
                    second.commit()
                with actor("carol"):
                    first.add(author(3))
                    first.flush()
                    first.rollback()
                with engine.connect() as raw:
                    for setting in ("audit", "audit_transaction"):
                        value = text(f"SELECT current_setting('sessionwise.{setting}', true)")
                        assert not raw.scalar(value)
                    raw.execute(text("INSERT INTO authors VALUES (4, 'd', 0, NULL)"))
                    raw.commit()
                first.add(author(5))
                first.commit()
        assert told(archive) == [
            ("1", "alice", None),
            ("2", None, None),
            ("4", None, None),
            ("5", None, None),
        ]

    def test_many_clients_on_two_connections(self, archive: Database, audit: Audit) -> None:
        errors: list[BaseException] = []

        def work(engine: Any, number: int) -> None:
            try:
                for turn in range(5):
                    name = f"client {number}" if (number + turn) % 2 else None
                    with actor(name), archive.session(engine, audit=audit) as session:
                        session.add(author(number * 100 + turn))
                        session.commit()
            except BaseException as error:  # noqa: BLE001 - looked at below
                errors.append(error)

        with behind_pgbouncer(archive, 2) as engine:
            threads = [threading.Thread(target=work, args=(engine, n)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert errors == []
        assert sorted(told(archive), key=lambda row: int(row[0])) == [
            (str(n * 100 + t), f"client {n}" if (n + t) % 2 else None, None)
            for n in range(8)
            for t in range(5)
        ]

"""Technique 2, a disk that is full: what cannot be recorded is not done, until there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, func, insert, make_url, select, text, update
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from sessionwise import TransactionDoomedError
from sessionwise.audit.tables import LOG
from tests.archive import Author
from tests.audited import installed
from tests.backends import Database, create_tables, on
from tests.recorded import Archive, replay

AUTHORS = Author.__table__
FEW = 100
"""Rows of a unit that fills the disk."""
MANY = 400
"""Rows for which there is no room when there is none for a few."""
SPACE = "sessionwise_small"

ROOM = {"sqlite": "1m", "postgresql": "512k", "mariadb": "8m"}
"""How large the disk is. MariaDB keeps two megabytes of a table to roll back in, and aborts where
it comes to the end of a disk before it had as much."""
PLENTY = "64m"
FULL = {
    "sqlite": "database or disk is full",
    "postgresql": "No space left on device",
    "mariadb": "The table 'audit_log' is full",
}
"""How the database says so."""


def make_room(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def rows(name: str, count: int = MANY) -> list[dict[str, Any]]:
    return [
        {"name": f"{name} {at}", "balance": 0, "note": f"{at} of {name}".ljust(200)}
        for at in range(count)
    ]


# Where the log is kept


@contextmanager
def of_sqlite(db: Database, disk: Path) -> Iterator[Database]:
    """Give a database that is on the disk as a whole: the log cannot lie elsewhere."""
    url = make_url(f"sqlite:///{disk / 'a.db'}")
    small = Database(db.driver, url, create_tables(url, "sqlite"), db.runner)
    try:
        yield small
    finally:
        small.dispose()
        small.observer.dispose()


@contextmanager
def of_postgresql(db: Database, disk: Path) -> Iterator[Database]:
    """Give the database, with a tablespace on the disk."""
    owner = data_of(db, "SELECT current_setting('data_directory')").stat()
    (place := disk / "data").mkdir()
    os.chown(place, owner.st_uid, owner.st_gid)
    admin = db.observer.execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE TABLESPACE {SPACE} LOCATION '{place}'"))
    try:
        yield db
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP TABLESPACE {SPACE}"))


@contextmanager
def of_mariadb(db: Database, disk: Path) -> Iterator[Database]:
    """Give the database as it is: a table of its has a directory when it is made."""
    data_of(db, "SELECT @@datadir")
    yield db


def data_of(db: Database, question: str) -> Path:
    """Return where a server has its data; the disk is to be on the same machine."""
    with db.observer.connect() as connection:
        directory = Path(str(connection.scalar(text(question))))
    if not directory.is_dir():
        pytest.skip("the server is on another machine")
    return directory


PLACES = {"sqlite": of_sqlite, "postgresql": of_postgresql, "mariadb": of_mariadb}


def move_log(connection: Connection, disk: Path) -> None:
    """Have the log, its indexes with it, on the disk, and nothing else."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"ALTER TABLE audit_log SET TABLESPACE {SPACE}"))
        named = text("SELECT indexname FROM pg_indexes WHERE tablename = 'audit_log'")
        for index in connection.scalars(named).all():
            connection.execute(text(f"ALTER INDEX {index} SET TABLESPACE {SPACE}"))
    elif connection.dialect.name == "mariadb":  # whose ALTER TABLE moves no table
        ((_, create),) = connection.execute(text("SHOW CREATE TABLE audit_log"))
        connection.execute(text("DROP TABLE audit_log"))
        connection.exec_driver_sql(f"{create} DATA DIRECTORY='{disk}'")


@pytest.fixture(params=["trigger", "session"])
def shelf(request: pytest.FixtureRequest, db: Database, small_disk: Path) -> Iterator[Archive]:
    """Give the archive and its audit by each engine, the log on a disk of its own."""
    server = db.driver.server
    make_room(small_disk, ROOM[server])
    with PLACES[server](db, small_disk) as small, installed(small, request.param):
        try:
            with small.observer.begin() as connection:
                move_log(connection, small_disk)
            yield Archive(small, small.engine, capture=request.param, exclude=[], redact=[])
        finally:
            make_room(small_disk, PLENTY)


# What is done


def add(session: Any) -> None:
    session.add_all(Author(**row) for row in rows("added"))
    session.flush()


def rename(session: Any) -> None:
    for author in session.scalars(select(Author)):
        author.note = "renamed" * 9
    session.flush()


def bulk_insert(session: Any) -> None:
    session.bulk_insert(Author, rows("bulk"))


def bulk_update(session: Any) -> None:
    keys = session.scalars(select(Author.id)).all()
    session.bulk_update(Author, [{"id": key, "balance": 2} for key in keys])


def insert_many(session: Any) -> None:
    session.execute(insert(AUTHORS), rows("inserted"))


def update_all(session: Any) -> None:
    session.execute(update(AUTHORS).values(balance=AUTHORS.c.balance + 1))


def delete_all(session: Any) -> None:
    session.execute(delete(AUTHORS))


def update_by_text(session: Any) -> None:
    session.execute(text("UPDATE authors SET balance = balance + 7"))


Change = Callable[[Any], None]

CHANGES: list[Change] = [add, rename, bulk_insert, bulk_update, insert_many, update_all]
CHANGES += [update_by_text, delete_all]


def changes(shelf: Archive) -> list[Change]:
    """Return what can be done: the session refuses to write what it cannot read."""
    return [one for one in CHANGES if one != update_by_text or shelf.audit.capture == "trigger"]


def run(shelf: Archive, session: Any, change: Change) -> None:
    if shelf.database.driver.is_async:
        session.run_sync(change)
    else:
        change(session)


def fill(shelf: Archive, session: Any) -> None:
    """Add rows in one unit after the other, until the disk is full."""
    with pytest.raises(DBAPIError, match=FULL[shelf.server]):
        for at in range(1_000):
            run(shelf, session, lambda s, at=at: s.bulk_insert(Author, rows(f"unit {at}", FEW)))
            session.commit()
    session.rollback()


def records(shelf: Archive) -> int:
    with shelf.database.observer.connect() as connection:
        return connection.scalar(select(func.count()).select_from(LOG)) or 0


def stored(shelf: Archive) -> Any:
    return shelf.contents(AUTHORS)["authors"]


def check(shelf: Archive) -> None:
    """See that what was recorded makes what is stored, from nothing."""
    assert replay(shelf.log(), {}).get("authors", {}) == stored(shelf)


def test_what_cannot_be_recorded_is_not_done(shelf: Archive, small_disk: Path) -> None:
    with shelf.session() as session:
        fill(shelf, session)
        before = stored(shelf), records(shelf)
        assert before[1] >= FEW
        assert before[1] % FEW == 0
        for change in changes(shelf):
            with pytest.raises(DBAPIError, match=FULL[shelf.server]):
                run(shelf, session, change)
                if shelf.server == "sqlite":  # which writes much of it at the end
                    session.commit()
            with suppress(DBAPIError, PendingRollbackError):  # as who does not roll back
                session.commit()
            session.rollback()
            assert (stored(shelf), records(shelf)) == before, change
        check(shelf)
        make_room(small_disk, PLENTY)
        for change in changes(shelf):
            so_far = records(shelf)
            run(shelf, session, change)
            session.commit()
            assert records(shelf) >= so_far + MANY, change
        assert stored(shelf) == {}  # the last one was to delete them
        check(shelf)


@on("postgresql", "mariadb")
def test_what_cannot_be_recorded_is_undone_with_its_savepoint(shelf: Archive) -> None:
    with shelf.session() as session:
        run(shelf, session, lambda s: s.bulk_insert(Author, rows("first", FEW)))
        with pytest.raises(DBAPIError, match=FULL[shelf.server]), session.begin_nested():
            run(shelf, session, lambda s: s.bulk_insert(Author, rows("too many", 10_000)))
        session.commit()
    assert len(stored(shelf)) == records(shelf) == FEW
    check(shelf)


@on("sqlite")
def test_sqlite_undoes_all_where_its_disk_is_full(shelf: Archive) -> None:
    """The savepoint is gone with the transaction, and so nothing more is stored of the unit."""
    with shelf.session() as session:
        run(shelf, session, lambda s: s.bulk_insert(Author, rows("first", FEW)))
        with pytest.raises(DBAPIError), session.begin_nested():
            run(shelf, session, lambda s: s.bulk_insert(Author, rows("too many", 10_000)))
        with pytest.raises(TransactionDoomedError, match=FULL["sqlite"]):
            session.commit()
        session.rollback()  # as the error says: nobody warns of it
    assert stored(shelf) == {}
    assert records(shelf) == 0

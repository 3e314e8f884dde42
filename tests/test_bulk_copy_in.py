"""``copy_in``: ready bytes into a table, in the session's transaction."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from sessionwise import BulkInputError, OptionError, UnsupportedError
from tests.backends import Database, on
from tests.model import User

CSV = b'id,name,balance\n1,Alice,5\n2,"Bob, the ""second""",7\n'


def users(session: Any) -> list[tuple[int, str, int]]:
    query = select(User.id, User.name, User.balance).order_by(User.id)
    return [tuple(row) for row in session.execute(query)]


STORED = [(1, "Alice", 5), (2, 'Bob, the "second"', 7)]


class TestSources:
    def test_bytes(self, db: Database) -> None:
        with db.session() as session:
            result = session.copy_in("users", CSV, header=True)
            assert result.inserted == 2
            assert users(session) == STORED

    def test_a_path(self, db: Database, tmp_path: Path) -> None:
        path = tmp_path / "users.csv.gz"
        path.write_bytes(gzip.compress(CSV))
        with db.session() as session:
            session.copy_in(User, path, header=True)
            assert users(session) == STORED

    def test_a_file_and_blocks(self, db: Database, tmp_path: Path) -> None:
        path = tmp_path / "users.csv"
        path.write_bytes(CSV)
        with db.session() as session, path.open("rb") as file:
            session.copy_in(User.__table__, file, header=True)
            assert users(session) == STORED
            session.rollback()
            session.copy_in(User, (CSV[at : at + 7] for at in range(0, len(CSV), 7)), header=True)
            assert users(session) == STORED

    def test_no_header(self, db: Database) -> None:
        with db.session() as session:
            session.copy_in(
                User, b"Alice\t5\t1\n", format="tsv", columns=["name", "balance", "id"]
            )
            assert users(session) == STORED[:1]

    @on("psycopg", "psycopg-async", "psycopg2", "asyncpg")
    def test_binary(self, db: Database) -> None:
        row = b"\x00\x01\x00\x00\x00\x04\x00\x00\x00\x09"
        data = b"PGCOPY\n\xff\r\n\x00" + bytes(8) + row + b"\xff\xff"
        with db.session() as session:
            with pytest.raises(DBAPIError):
                session.copy_in(User, data, columns=["id"], format="binary")  # the name is missing
            assert users(session) == []


class TestFailure:
    def test_nothing_is_stored_and_the_unit_goes_on(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(id=9, name="before", balance=0))
            bad = CSV + b"1,Again,0\n"
            with pytest.raises(DBAPIError):
                session.copy_in(User, bad, header=True)
            session.commit()
        assert db.names() == ["before"]

    def test_bad_input(self, db: Database, tmp_path: Path) -> None:
        with db.session() as session:
            for table in ("no_such_table", "users; DROP TABLE users", ""):
                with pytest.raises((BulkInputError, DBAPIError)):
                    session.copy_in(table, CSV, header=True)
            with pytest.raises(OSError, match="missing"):
                session.copy_in(User, tmp_path / "missing.csv")
            with pytest.raises(OptionError, match="format='xml'"):
                session.copy_in(User, CSV, format="xml")
            assert users(session) == []

    @on("sqlite", "mariadb")
    def test_what_only_postgresql_has(self, db: Database) -> None:
        with db.session() as session, pytest.raises(UnsupportedError, match="binary"):
            session.copy_in(User, b"", format="binary")


def test_it_is_in_the_transaction_and_seen(db: Database) -> None:
    with db.session() as session:
        session.copy_in(User, CSV, header=True)
        assert session.get(User, 1).name == "Alice"
        session.rollback()
        assert session.scalar(select(func.count(User.id))) == 0

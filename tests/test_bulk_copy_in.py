"""Technique 3: ``copy_in`` sends ready bytes into a table, in the session's transaction."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from sessionwise import OptionError, UnsupportedError
from sessionwise.bulk import announce, read
from sessionwise.bulk.copying import copy_in
from sessionwise.bulk.insert import insert as bulk_insert
from sessionwise.bulk.result import BulkResult
from sessionwise.errors import BulkInputError
from tests.backends import Database, on
from tests.model import User
from tests.papers import Paper, export, exported, stored

CSV = b'1,Alice,10\n2,"Bob, the ""great""\n",20\n3,\xf0\x9f\x98\x80,-1\n'
NAMES = ["Alice", 'Bob, the "great"\n', "😀"]
COLUMNS = ["id", "name", "balance"]


def load(session: Any, table: Any, source: Any, **how: Any) -> BulkResult:
    """Send bytes, as ``session.copy_in`` does."""
    if hasattr(session, "run_sync"):
        result: BulkResult = session.run_sync(lambda sync: copy_in(sync, table, source, **how))
        return result
    return copy_in(session, table, source, **how)


@pytest.fixture
def users(db: Database) -> Iterator[tuple[Database, Any]]:
    with db.session() as session:
        yield db, session


class TestTables:
    @pytest.mark.parametrize("table", ["users", User, User.__table__], ids=str)
    def test_each_way_to_name_it(self, users: Any, table: Any) -> None:
        db, session = users
        result = load(session, table, CSV)
        assert result.inserted == result.read == 3
        assert db.names() == []
        session.commit()
        assert db.names() == sorted(NAMES)

    def test_writer(self, users: Any) -> None:
        db, session = users
        by_copy = load(session, User, CSV).writer == "postgresql-copy"
        assert by_copy == (db.driver.server == "postgresql")

    @on("postgresql")
    def test_schema_and_case(self, users: Any) -> None:
        _, session = users
        session.execute(text('CREATE SCHEMA IF NOT EXISTS "Bulk"'))
        session.execute(text('CREATE TABLE "Bulk"."Users" (id int, "order" text)'))
        assert load(session, "Bulk.Users", b"1,a\n", columns=["id", "order"]).inserted == 1
        assert session.execute(text('SELECT "order" FROM "Bulk"."Users"')).scalar() == "a"

    @pytest.mark.parametrize("name", ["", "users; --", 'us"ers', "a.b.c", "users ", "1users"])
    def test_no_name(self, users: Any, name: str) -> None:
        with pytest.raises(BulkInputError, match="is not the name of a table"):
            load(users[1], name, CSV)

    def test_no_table(self, users: Any) -> None:
        db, session = users
        copies = db.driver.server == "postgresql"
        with pytest.raises(DBAPIError if copies else BulkInputError, match="nowhere"):
            load(session, "nowhere", CSV)
        session.execute(select(User))  # the transaction goes on


class TestSources:
    def test_kinds(self, db: Database, tmp_path: Path) -> None:
        path = tmp_path / "users.csv"
        path.write_bytes(CSV)
        packed = tmp_path / "users.csv.gz"
        packed.write_bytes(gzip.compress(CSV[:20]) + gzip.compress(CSV[20:]))
        zstd = zstandard.ZstdCompressor().compress(CSV)
        with path.open("rb") as file:
            for source in (
                path,
                str(path),
                file,
                io.BytesIO(CSV),
                bytearray(CSV),
                memoryview(CSV),
                (CSV[at : at + 1] for at in range(len(CSV))),
                [CSV[:30], b"", CSV[30:]],
                packed,
                zstd,
                b"\xef\xbb\xbf" + CSV,
            ):
                with db.session() as session:
                    assert load(session, "users", source).inserted == 3
                    assert sorted(session.scalars(select(User.name))) == sorted(NAMES)
            assert not file.closed

    def test_cut_short(self, users: Any) -> None:
        db, session = users
        for data in (gzip.compress(CSV * 10)[:-9], zstandard.compress(CSV * 10)[:-5]):
            with pytest.raises(BulkInputError, match="cut short or damaged"):
                load(session, "users", data)
        session.add(User(id=9, name="Zoe"))
        session.commit()
        assert db.names() == ["Zoe"]

    @pytest.mark.parametrize("source", [7, ["text"], None])
    def test_no_bytes(self, users: Any, source: Any) -> None:
        with pytest.raises(BulkInputError, match="bytes"):
            load(users[1], "users", source)
        users[1].execute(select(User))

    def test_a_source_that_fails(self, users: Any) -> None:
        def pieces() -> Iterator[bytes]:
            yield CSV
            raise ZeroDivisionError

        _, session = users
        with pytest.raises(ZeroDivisionError):
            load(session, "users", pieces())
        assert session.scalars(select(User)).all() == []


class TestColumns:
    def test_in_another_order(self, users: Any) -> None:
        _, session = users
        load(session, User, b"Alice,1,5\n", columns=["name", "id", "balance"])
        assert session.get(User, 1).name == "Alice"

    def test_a_header_names_them(self, users: Any) -> None:
        _, session = users
        data = b'name,"id",balance\nAlice,1,5\n'
        for header in (True, "auto"):
            for table in ("users", User):
                assert load(session, table, data, header=header).inserted == 1
                assert session.scalar(select(User.name)) == "Alice"
                session.rollback()

    def test_no_header_after_all(self, users: Any) -> None:
        _, session = users
        assert load(session, User, CSV, header="auto").inserted == 3

    def test_header_of_attributes(self, users: Any) -> None:
        db, session = users
        with stored(db):
            how = {"header": True, "format": "tsv"}
            load(session, Paper, b'title\tid\n"A\tB"\t100\n', **how)
            assert session.get(Paper, 100).title == "A\tB"
            session.rollback()
            if hasattr(session, "target"):
                session.close()

    def test_a_name_that_is_none(self, users: Any) -> None:
        with pytest.raises(BulkInputError, match="no such column"):
            load(users[1], User, CSV, columns=["id", "nome", "balance"])

    def test_tsv(self, users: Any) -> None:
        _, session = users
        load(session, "users", b'1\t"a\tb"\t7\n', format="tsv")
        assert session.scalar(select(User.name)) == "a\tb"


class TestTransaction:
    def test_an_error_leaves_the_rest(self, users: Any, tmp_path: Path) -> None:
        db, session = users
        session.add(User(id=2, name="before"))
        path = tmp_path / "users.csv"
        path.write_bytes(CSV)
        with pytest.raises(IntegrityError) as caught:
            load(session, "users", path)
        if db.driver.server == "postgresql":
            [note] = caught.value.__notes__
            assert note.startswith("Nothing of users.csv is stored in users. ")
        assert session.scalars(select(User.name)).all() == ["before"]
        session.add(User(id=5, name="after"))
        session.commit()
        assert db.names() == ["after", "before"]

    @on("psycopg", "psycopg2", "psycopg-async", "asyncpg")
    def test_a_line_is_named(self, users: Any) -> None:
        with pytest.raises(DBAPIError, match="invalid input syntax for type integer") as caught:
            load(users[1], "users", b"id,name,balance\n1,a,2\n2,b,many\n", header=True)
        cause = caught.value.orig
        context = str((getattr(cause, "diag", None) and cause.diag.context) or cause.__cause__)
        context += getattr(cause.__cause__, "context", "")
        assert "line 3, column balance" in context

    def test_loaded_objects(self, users: Any) -> None:
        _, session = users
        session.add(User(id=9, name="Zoe"))
        load(session, "users", CSV)
        assert session.get(User, 1).name == "Alice"
        assert session.get(User, 9).name == "Zoe"

    def test_undone_with_its_block(self, users: Any) -> None:
        _, session = users
        with session.begin_nested():
            load(session, "users", CSV)
            session.rollback()
        assert session.scalars(select(User)).all() == []

    @on("postgresql")
    def test_counted(self, users: Any) -> None:
        db, session = users
        with db.statements() as seen:
            load(session, "users", CSV)
        assert [one.split()[0] for one in seen] == ["SAVEPOINT", "RELEASE"]

    def test_announced(self, users: Any) -> None:
        db, session = users
        sync = session.target.sync_session if db.driver.is_async else session
        heard: list[Any] = []
        announce.listen(sync, heard.append)
        load(session, "users", CSV)
        kind = "copy" if db.driver.server == "postgresql" else "insert"
        assert [(one.kind, one.done) for one in heard] == [(kind, False), (kind, True)]
        assert {one.target.name for one in heard} == {"users"}
        assert (heard[0].chunk is None) == (kind == "copy")

    def test_progress(self, users: Any) -> None:
        seen: list[int] = []
        load(users[1], "users", CSV, progress=lambda now: seen.append(now.rows))
        assert seen[-1] == 3


class TestBinary:
    @on("postgresql")
    def test_binary(self, users: Any) -> None:
        _, session = users
        pgcopy = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
        row = b"\x00\x03" + b"\x00\x00\x00\x04\x00\x00\x00\x07" + b"\x00\x00\x00\x02hi"
        row += b"\x00\x00\x00\x04\x00\x00\x00\x09"
        assert load(session, User, pgcopy + row + b"\xff\xff", format="binary").inserted == 1
        assert session.get(User, 7).name == "hi"

    @on("sqlite", "mariadb")
    def test_not_here(self, users: Any) -> None:
        with pytest.raises(UnsupportedError, match="no COPY for binary data"):
            load(users[1], User, b"", format="binary")

    @on("sqlite3")
    def test_options(self, users: Any) -> None:
        with pytest.raises(OptionError, match="format='xml'"):
            load(users[1], User, b"", format="xml")
        with pytest.raises(OptionError, match="header='yes'"):
            load(users[1], User, b"", header="yes")
        with pytest.raises(OptionError, match="binary data has none"):
            load(users[1], User, b"", format="binary", header=True)


class TestRoundTrip:
    """What ``copy_out`` has written is the same again."""

    @on("postgresql")
    @pytest.mark.parametrize("format_", ["csv", "tsv"])
    def test_by_copy(self, db: Database, format_: str) -> None:
        with stored(db), db.session() as session:
            before = exported(db, select(Paper).order_by(Paper.id), format_)
            session.execute(text("DELETE FROM bulk_papers"))
            load(session, Paper, before, format=format_, header=True)
            after = io.BytesIO()
            export(session, select(Paper).order_by(Paper.id), after, format=format_)
            assert after.getvalue() == before

    @pytest.mark.parametrize("format_", ["csv", "tsv", "jsonl", "parquet", "arrow"])
    def test_by_bulk_insert(self, db: Database, format_: str, tmp_path: Path) -> None:
        path = tmp_path / f"papers.{format_}"
        how = {"null": "\\NULL"} if format_ in {"csv", "tsv"} else {}
        # Text of Arrow's is taken as it is: what was JSON would be a JSON string.
        apart = {"extra", "uid"} if format_ in {"parquet", "arrow"} else set()
        names = [name for name in Paper.__mapper__.column_attrs.keys() if name not in apart]  # noqa: SIM118
        ordered = select(*(getattr(Paper, name) for name in names)).order_by(Paper.id)
        with stored(db), db.session() as session:
            export(session, ordered, path, **how)
            before = exported(db, ordered, "jsonl")
            session.execute(text("DELETE FROM bulk_papers"))

            def again(sync: Any) -> None:
                bulk_insert(sync, Paper, read(path, **how))

            session.run_sync(again) if db.driver.is_async else again(session)
            after = io.BytesIO()
            export(session, ordered, after, format="jsonl")
            assert after.getvalue() == before

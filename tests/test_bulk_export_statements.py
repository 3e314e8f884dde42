"""Technique 3: what ``copy_out`` takes, by which way the rows come, and where they go."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet
from sqlalchemy import (
    Boolean,
    Integer,
    Interval,
    String,
    bindparam,
    cast,
    event,
    func,
    insert,
    literal_column,
    select,
    text,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY, INET
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import aliased, with_loader_criteria

from sessionwise import OptionError
from sessionwise.bulk.exporting.raw_copy import RowCounter
from sessionwise.errors import BulkInputError
from tests.backends import Database, on
from tests.model import Order, User
from tests.papers import NAMES, ROWS, Paper, export, exported, stored

MANY = 25_000
"""More rows than there are in a chunk."""


class Interrupted(BaseException):
    """As Ctrl-C is one, but for event loops."""


@pytest.fixture
def papers(db: Database) -> Iterator[Database]:
    with stored(db):
        yield db


class TestStatements:
    def test_text(self, papers: Database) -> None:
        statement = text("SELECT id, the_title FROM bulk_papers WHERE id = :id -- why;\n;")
        data = exported(papers, statement.bindparams(id=11), "csv")
        assert data == b"id,the_title\n11,plain\n"

    def test_text_with_types(self, papers: Database) -> None:
        statement = text("SELECT id AS a, is_open FROM bulk_papers WHERE id = 2")
        data = exported(papers, statement.columns(a=Integer, is_open=Boolean), "csv")
        assert data == b"a,is_open\n2,true\n"

    def test_table(self, papers: Database) -> None:
        data = exported(papers, Paper.__table__, "csv")
        assert data.split(b"\n")[0].decode().split(",") == NAMES

    def test_union(self, papers: Database) -> None:
        low, high = select(Paper.id).where(Paper.id < 2), select(Paper.id).where(Paper.id == 5)
        assert exported(papers, union_all(low, high), "csv") == b"id\n1\n5\n"

    def test_alias_and_columns(self, papers: Database) -> None:
        other = aliased(Paper)
        statement = select(other, func.count().label("n")).where(other.id == 2).group_by(other.id)
        if papers.driver.server == "postgresql":
            data = exported(papers, statement, "jsonl")
            assert json.loads(data)["n"] == 1

    def test_parameters(self, papers: Database) -> None:
        statement = select(Paper.id, bindparam("what", "it's 100% %s", String).label("50%")).where(
            Paper.id.in_([1, 2]), Paper.id > bindparam("least", 1)
        )
        assert exported(papers, statement, "csv") == b"id,50%\n2,it's 100% %s\n"
        assert exported(papers, statement, "jsonl") == b'{"id":2,"50%":"it\'s 100% %s"}\n'

    def test_names(self, papers: Database) -> None:
        statement = select(Paper.id, Paper.title).where(Paper.id == 1)
        data = exported(papers, statement, "csv", columns=['the "id"', "ünïcode"])
        assert data.decode() == '"the ""id""",ünïcode\n1,\n'
        with pytest.raises(BulkInputError, match="1 names, and the statement has 2"):
            exported(papers, statement, "csv", columns=["id"])
        with pytest.raises(BulkInputError, match="several columns are called id"):
            exported(papers, select(User, Order).join_from(User, Order), "csv")

    def test_long_names(self, papers: Database) -> None:
        name = "n" * 100
        statement = select(Paper.id).where(Paper.id == 1)
        assert exported(papers, statement, "jsonl", columns=[name]) == (
            f'{{"{name}":1}}\n'.encode()
        )

    def test_no_rows(self, papers: Database) -> None:
        nothing = select(Paper).where(Paper.id < 0)
        assert exported(papers, nothing, "csv").count(b"\n") == 1
        assert exported(papers, nothing, "jsonl") == b""
        table = parquet.read_table(io.BytesIO(exported(papers, nothing, "parquet")))
        assert table.num_rows == 0
        assert table.schema.names == NAMES
        assert table.schema.field("price").type == pa.decimal128(14, 4)

    def test_without_header(self, papers: Database) -> None:
        statement = select(Paper.id).where(Paper.id == 1)
        assert exported(papers, statement, "csv", header=False) == b"1\n"

    @pytest.mark.parametrize("what", [1, "users", insert(Paper), None])
    def test_no_select(self, papers: Database, what: Any) -> None:
        with pytest.raises(BulkInputError, match="is no SELECT"):
            exported(papers, what, "csv")

    def test_a_decorated_type_is_what_python_has(self, papers: Database) -> None:
        with papers.observer.begin() as connection:
            connection.execute(text("UPDATE bulk_papers SET loud = 'quiet' WHERE id = 2"))
        statement = select(Paper.loud).where(Paper.id == 2)
        assert exported(papers, statement, "csv") == b"loud\nQUIET\n"

    def test_criteria_of_an_event(self, papers: Database) -> None:
        with papers.session() as session:
            sync = session.target.sync_session if papers.driver.is_async else session

            @event.listens_for(sync, "do_orm_execute")
            def only_one(state: Any) -> None:
                state.statement = state.statement.options(
                    with_loader_criteria(Paper, Paper.id == 11)
                )

            sink = io.BytesIO()
            assert export(session, select(Paper.id), sink, format="csv").rows == 1
            assert sink.getvalue() == b"id\n11\n"

    def test_expressions_are_inferred(self, papers: Database) -> None:
        statement = select(
            func.sum(Paper.price).label("sum"),
            func.count().label("count"),
            func.max(Paper.ratio).label("max"),
            literal_column("NULL").label("empty"),
        )
        table = parquet.read_table(io.BytesIO(exported(papers, statement, "parquet")))
        [row] = table.to_pylist()
        assert row["count"] == len(ROWS)
        assert row["max"] == 1.7976931348623157e308
        assert row["empty"] is None
        assert row["sum"] == Decimal("8765432109.8749") or papers.driver.server == "sqlite"

    @on("sqlite3")
    def test_what_does_not_fit_is_named(self, papers: Database) -> None:
        with papers.observer.begin() as connection:
            connection.execute(text("UPDATE bulk_papers SET small = 'many' WHERE id = 3"))
        with pytest.raises(BulkInputError, match=r"column 'small' .* not int64: .*many.* Cast it"):
            exported(papers, Paper, "parquet")

    @on("postgresql")
    def test_nan_is_no_decimal_of_arrow(self, papers: Database) -> None:
        with papers.observer.begin() as connection:
            connection.execute(text("UPDATE bulk_papers SET price = 'NaN' WHERE id = 3"))
        with pytest.raises(BulkInputError, match=r"column 'price' has a value .*NaN"):
            exported(papers, Paper, "parquet")
        assert b",NaN," in exported(papers, Paper, "csv")

    @on("postgresql")
    def test_other_types(self, papers: Database) -> None:
        statement = select(
            cast(literal_column("'{1,NULL,3}'"), ARRAY(Integer)).label("list"),
            cast(literal_column("interval '1 day 02:03:04.5'"), Interval).label("length"),
            literal_column("'-Infinity'::numeric").label("least"),
        )
        assert exported(papers, statement, "csv") == (
            b'list,length,least\n"[1, null, 3]",1 day 02:03:04.5,-Infinity\n'
        )
        statement = select(statement.selected_columns[0], statement.selected_columns[1])
        [row] = parquet.read_table(io.BytesIO(exported(papers, statement, "parquet"))).to_pylist()
        length = timedelta(days=1, hours=2, minutes=3, seconds=4.5)
        assert row == {"list": [1, None, 3], "length": length}

    @on("psycopg")
    def test_a_type_without_form_is_named(self, papers: Database) -> None:
        statement = select(cast(literal_column("'127.0.0.1'"), INET).label("host"))
        with pytest.raises(BulkInputError, match=r"column 'host': IPv4Address has no form"):
            exported(papers, statement, "csv")


class TestRoads:
    @on("postgresql")
    @pytest.mark.parametrize("format_", ["csv", "tsv", "jsonl", "parquet", "arrow"])
    def test_copy(self, papers: Database, format_: str) -> None:
        with papers.session() as session:
            result = export(session, User, io.BytesIO(), format=format_)
            assert result.writer == "postgresql-copy"

    @on("postgresql")
    def test_what_copy_cannot_do(self, papers: Database) -> None:
        with papers.session() as session:
            for statement in (
                text("SHOW server_version"),
                text(
                    "WITH gone AS (DELETE FROM bulk_papers WHERE id = 1 RETURNING id) "
                    "SELECT id FROM gone"
                ),
            ):
                result = export(session, statement, io.BytesIO(), format="csv")
                assert (result.writer, result.rows) == ("core", 1)

    @on("postgresql")
    def test_statements(self, papers: Database) -> None:
        with papers.session() as session:
            session.connection()
            with papers.statements() as seen:
                export(session, select(User.id), io.BytesIO(), format="csv")
        assert ["SAVEPOINT" in one or "RELEASE" in one for one in seen] == [True, False, True]

    @on("sqlite", "mariadb")
    def test_one_statement(self, papers: Database) -> None:
        with papers.session() as session, papers.statements() as seen:
            assert export(session, Paper, io.BytesIO(), format="csv").writer == "core"
        assert len(seen) == 1

    def test_many_rows(self, many: Database) -> None:
        seen: list[int] = []
        sink, table = io.BytesIO(), io.BytesIO()
        ordered = select(Order).order_by(Order.id)
        with many.session() as session:
            progress = lambda now: seen.append(now.rows)  # noqa: E731
            result = export(session, ordered, sink, format="csv", progress=progress)
            assert result.rows == seen[-1] == MANY
            assert seen == sorted(seen)
            export(session, ordered, table, format="parquet")
        assert sink.getvalue().count(b"\n") == MANY + 1
        assert parquet.read_table(table).column("id").to_pylist() == list(range(1, MANY + 1))


@pytest.fixture
def many(db: Database) -> Database:
    with db.observer.begin() as connection:
        connection.execute(insert(User), [{"id": 1, "name": "Alice", "balance": 0}])
        rows = [{"id": at + 1, "user_id": 1, "amount": at * 7} for at in range(MANY)]
        connection.execute(insert(Order), rows)
    return db


class TestFlush:
    def test_what_is_pending_is_in_it(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(id=1, name="Alice"))
            sink = io.BytesIO()
            export(session, select(User.name), sink, format="csv")
            assert sink.getvalue() == b"name\nAlice\n"
            session.rollback()
        assert db.names() == []


class TestFiles:
    def test_formats_by_name(self, db: Database, tmp_path: Path) -> None:
        with db.session() as session:
            session.add(User(id=1, name="Alice"))
            for name, format_ in {
                "a.csv": "csv",
                "a.b.TSV": "tsv",
                "a.jsonl": "jsonl",
                "a.ndjson.gz": "jsonl",
                "a.csv.zst": "csv",
                "a.parquet": "parquet",
                "a.arrow": "arrow",
                "a.feather": "arrow",
            }.items():
                path = tmp_path / name
                result = export(session, User, str(path) if "csv" in name else path)
                assert (result.rows, result.format) == (1, format_)
                assert result.size == path.stat().st_size
        line = b'{"id":1,"name":"Alice","balance":0}\n'
        assert (tmp_path / "a.jsonl").read_bytes() == line
        assert gzip.decompress((tmp_path / "a.ndjson.gz").read_bytes()) == line
        packed = (tmp_path / "a.csv.zst").read_bytes()
        unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
        assert unpacked == b"id,name,balance\n1,Alice,0\n"
        assert pa.ipc.open_file(tmp_path / "a.arrow").read_all().num_rows == 1
        assert not list(tmp_path.glob(".*"))

    @on("sqlite3", "psycopg")
    def test_compression_of_columns(self, db: Database) -> None:
        data = exported(db, User, "parquet", compression="zstd")
        assert parquet.ParquetFile(io.BytesIO(data)).metadata.num_columns == 3
        exported(db, User, "arrow", compression="zstd")
        assert gzip.decompress(exported(db, User, "csv", compression="gzip")).startswith(b"id")

    def test_a_failure_leaves_what_was_there(self, papers: Database, tmp_path: Path) -> None:
        path = tmp_path / "papers.csv"
        path.write_bytes(b"what was there")
        fails = {
            "sqlite": "SELECT id, CASE id WHEN 12 THEN abs(-9223372036854775808) END AS x",
            "postgresql": "SELECT id, 1 / (id - 12) AS x",
            "mariadb": "SELECT id, (SELECT id FROM bulk_papers p WHERE p.id > q.id - 2) AS x",
        }[papers.driver.server]
        with papers.session() as session:
            session.add(User(id=1, name="Alice"))
            with pytest.raises(DBAPIError):
                export(session, text(f"{fails} FROM bulk_papers AS q ORDER BY id"), path)
            session.commit()  # what was done before stands
        assert path.read_bytes() == b"what was there"
        assert [one.name for one in tmp_path.iterdir()] == ["papers.csv"]
        assert papers.names() == ["Alice"]

    @pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
    def test_a_sink_that_fails(self, many: Database, error: BaseException) -> None:
        class Full(io.BytesIO):
            def write(self, data: Any) -> int:
                if self.tell() + len(data) > 1000:
                    raise error
                return super().write(data)

        if many.driver.is_async and isinstance(error, KeyboardInterrupt):
            pytest.skip("Ctrl-C ends the event loop")
        with many.session() as session:
            session.add(User(id=2, name="Bob"))
            with pytest.raises(type(error)):
                export(session, select(Order), Full(), format="csv")
            if isinstance(error, OSError):
                session.commit()
                assert many.names() == ["Alice", "Bob"]

    def test_progress_that_fails(self, many: Database, tmp_path: Path) -> None:
        def progress(_now: Any) -> None:
            raise ZeroDivisionError

        with many.session() as session:
            for name in ("a.csv", "a.parquet"):
                with pytest.raises(ZeroDivisionError):
                    export(session, select(Order), tmp_path / name, progress=progress)
            assert session.scalar(select(func.count()).select_from(Order)) == MANY
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("error", [ZeroDivisionError, Interrupted])
    def test_what_is_not_wanted_is_not_read(self, many: Database, error: Any) -> None:
        """To read the rows that are left would take hours, and drivers of MariaDB's would."""

        def progress(_now: Any) -> None:
            raise error

        six = " UNION ALL ".join(f"SELECT {number} AS id" for number in range(6))
        numbers = ", ".join(f"({six}) AS n{at}" for at in range(12))
        with many.session() as session:
            session.add(User(id=2, name="Bob"))
            for format_ in ("csv", "parquet"):
                with pytest.raises(error):
                    export(
                        session,
                        text(f"SELECT n1.id FROM {numbers}"),
                        io.BytesIO(),
                        format=format_,
                        progress=progress,
                    )
                if error is Interrupted:  # the connection may be given up, as by SQLAlchemy
                    session.rollback()
            assert session.scalar(select(func.count()).select_from(Order)) == MANY
            session.commit()  # what was done before stands
        assert many.names() == ["Alice", "Bob"][: 1 if error is Interrupted else 2]

    @on("sqlite3")
    def test_modes_and_links(self, db: Database, tmp_path: Path) -> None:
        path, link = tmp_path / "a.csv", tmp_path / "link.csv"
        path.touch()
        path.chmod(0o640)
        link.symlink_to(path)
        with db.session() as session:
            export(session, User, link)
        assert link.is_symlink()
        assert path.stat().st_mode & 0o777 == 0o640
        assert path.read_bytes() == b"id,name,balance\n"

    @on("sqlite3")
    def test_options(self, db: Database, tmp_path: Path) -> None:
        with db.session() as session:
            for sink, how, message in (
                (tmp_path / "a.txt", {}, "does not say what format"),
                (io.BytesIO(), {}, "a BytesIO does not say"),
                (io.StringIO(), {"format": "csv"}, "neither a path nor a binary file"),
                (tmp_path, {"format": "csv"}, "is a directory"),
                (io.BytesIO(), {"format": "xlsx"}, "format='xlsx' is not a choice"),
                (io.BytesIO(), {"format": "csv", "compression": "lzma"}, "compression='lzma'"),
                (io.BytesIO(), {"format": "csv", "null": ","}, "null=',' cannot be told"),
                (io.BytesIO(), {"format": "jsonl", "header": False}, "are for CSV and TSV"),
            ):
                with pytest.raises(OptionError, match=message):
                    export(session, User, sink, **how)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_rows_are_counted(size: int) -> None:
    data = b'a,b\n1,"two\nlines"\n2,"a ""quote"" and\n"\n3,""\n'
    counter = RowCounter()
    for at in range(0, len(data), size):
        counter.count(data[at : at + size])
    assert counter.rows == 4

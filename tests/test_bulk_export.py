"""Technique 3: ``copy_out`` writes files that hold what the database holds, to the byte."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import select, text

from tests.backends import Database, on
from tests.papers import FULL, NAMES, ROWS, Paper, by_names, export, exported, stored

NOT_FINITE = [math.nan, math.inf, -math.inf]
EVERYTHING = select(Paper).order_by(Paper.id)


@pytest.fixture
def papers(db: Database) -> Iterator[Database]:
    with stored(db):
        yield db


def from_texts(values: dict[str, Any]) -> dict[str, Any]:
    """Read a row of texts."""
    readers: dict[str, Any] = {
        "id": int,
        "small": int,
        "big": int,
        "price": Decimal,
        "ratio": float,
        "is_open": {"true": True, "false": False}.__getitem__,
        "day": date.fromisoformat,
        "at": datetime.fromisoformat,
        "moment": datetime.fromisoformat,
        "clock": time.fromisoformat,
        "data": lambda one: bytes.fromhex(one.removeprefix("\\x")),
    }
    found = {}
    for name, value in values.items():
        known = value is None or not isinstance(value, str) or name not in readers
        found[name] = value if known else readers[name](value)
    return found


class TestRoundTrip:
    @pytest.mark.parametrize("format_", ["csv", "tsv"])
    def test_delimited(self, papers: Database, format_: str) -> None:
        data = exported(papers, EVERYTHING, format_, null="\\N!")
        lines = io.StringIO(data.decode(), newline="")
        rows = list(csv.DictReader(lines, delimiter="," if format_ == "csv" else "\t"))
        assert list(rows[0]) == NAMES
        for row, expected in zip(rows, map(by_names, ROWS), strict=True):
            read = {name: None if one == "\\N!" else one for name, one in row.items()}
            if read["extra"] is not None:
                read["extra"] = json.loads(read["extra"])
            assert from_texts(read) == expected

    def test_json_lines(self, papers: Database) -> None:
        data = exported(papers, EVERYTHING, "jsonl")
        lines = data.decode().split("\n")
        assert lines.pop() == ""
        for line, expected in zip(lines, map(by_names, ROWS), strict=True):
            row = json.loads(line)
            assert list(row) == NAMES
            assert from_texts(row) == expected
            assert row["price"] is None or isinstance(row["price"], str)

    @pytest.mark.parametrize("format_", ["parquet", "arrow"])
    def test_columnar(self, papers: Database, format_: str) -> None:
        data = exported(papers, EVERYTHING, format_)
        if format_ == "parquet":
            table = parquet.read_table(io.BytesIO(data))
        else:
            table = pa.ipc.open_file(data).read_all()
        assert table.schema.names == NAMES
        for row, expected in zip(table.to_pylist(), map(by_names, ROWS), strict=True):
            if row["extra"] is not None:
                row["extra"] = json.loads(row["extra"])
            assert row == expected

    def test_types(self, papers: Database) -> None:
        table = parquet.read_table(io.BytesIO(exported(papers, Paper, "parquet")))
        types = dict(zip(table.schema.names, table.schema.types, strict=True))
        wide = papers.driver.server == "sqlite"
        assert types["id"] == (pa.int64() if wide else pa.int32())
        assert types["small"] == (pa.int64() if wide else pa.int16())
        assert types["big"] == pa.int64()
        assert types["price"] == pa.decimal128(14, 4)
        assert types["ratio"] == pa.float64()
        assert types["at"] == pa.timestamp("us")
        assert types["moment"] == pa.timestamp("us", "UTC")
        assert types["clock"] == pa.time64("us")
        assert types["data"] == pa.binary()
        assert {types[name] for name in ("the_title", "extra", "uid", "shade")} == {pa.string()}
        notes = {
            one.name: one.metadata[b"sessionwise.text_of"] for one in table.schema if one.metadata
        }
        assert notes == {"extra": b"json", "uid": b"uuid"}

    @on("sqlite", "postgresql")
    @pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet"])
    def test_numbers_that_are_not_finite(self, papers: Database, format_: str) -> None:
        with papers.observer.begin() as connection:
            for at, value in enumerate(NOT_FINITE, 1):
                connection.execute(
                    text(f"UPDATE bulk_papers SET ratio = {_literal(papers, value)} WHERE id={at}")
                )
        statement = select(Paper.ratio).where(Paper.id <= 3).order_by(Paper.id)
        data = exported(papers, statement, format_)
        if format_ == "parquet":
            values = parquet.read_table(io.BytesIO(data)).column("ratio").to_pylist()
        elif format_ == "jsonl":
            values = [json.loads(line)["ratio"] for line in data.splitlines()]
            values = [None if one is None else float(one) for one in values]
        else:
            values = [float(line) if line else None for line in data.decode().split("\n")[1:-1]]
        expected = [None, *NOT_FINITE[1:]] if papers.driver.server == "sqlite" else NOT_FINITE
        assert list(map(repr, values)) == list(map(repr, expected))


def _literal(db: Database, value: float) -> str:
    if db.driver.server == "postgresql":
        return f"CAST('{value}' AS double precision)"
    return {"nan": "NULL", "inf": "9e999", "-inf": "-9e999"}.get(str(value), str(value))


BYTES = {
    "csv": (
        b"id,small,big,price,ratio,the_title,is_open,day,at,moment,clock,data,uid,shade\n"
        b"1,,,,,,,,,,,,,\n"
        b'2,-32768,-9223372036854775808,-1234567890.1250,0.1,"a ""quoted"", one",true,2024-02-29,'
        b"2024-02-29 23:59:59.5,2024-02-29 23:59:59+00,23:59:59,\\x00ff5c270a,"
        b"80000000-0000-0000-0000-000000000001,pale_blue\n"
        b"3,32767,9223372036854775807,9999999999.9999,,,false,,,,,,,\n"
        b"4,,,,1e+15,,,,1971-01-01 00:00:00.000001,,,,,\n"
        b"5,,,,-1.2345678901234565e+15,,,9999-12-31,,,,,,\n"
        b"6,,,,1e-05,,,,,,00:00:00,\\x,,\n"
        b"7,,,,1.7976931348623157e+308,,,,,,,,,\n"
        b"8,,,,100,,,1000-01-01,,,,,,\n"
        b'9,,,,,"",,,,,,,,\n'
    ),
    "jsonl": (
        b'{"id":2,"small":-32768,"big":-9223372036854775808,"price":"-1234567890.1250",'
        b'"ratio":0.1,"the_title":"a \\"quoted\\", one","is_open":true,"day":"2024-02-29",'
        b'"at":"2024-02-29T23:59:59.5","moment":"2024-02-29T23:59:59+00:00","clock":"23:59:59",'
        b'"data":"\\\\x00ff5c270a","uid":"80000000-0000-0000-0000-000000000001",'
        b'"shade":"pale_blue"}\n'
        b'{"id":3,"small":32767,"big":9223372036854775807,"price":"9999999999.9999",'
        b'"ratio":null,"the_title":null,"is_open":false,"day":null,"at":null,"moment":null,'
        b'"clock":null,"data":null,"uid":null,"shade":null}\n'
    ),
}


class TestSameBytes:
    """What a value looks like does not depend on the database."""

    COLUMNS = [
        getattr(Paper, name) for name in ["id", *FULL] if name not in {"extra", "loud", "title"}
    ]
    COLUMNS.insert(5, Paper.title.label("the_title"))

    def test_csv(self, papers: Database) -> None:
        statement = select(*self.COLUMNS).where(Paper.id < 10).order_by(Paper.id)
        assert exported(papers, statement, "csv") == BYTES["csv"]

    def test_tsv(self, papers: Database) -> None:
        statement = select(Paper.id, Paper.title).where(Paper.title.like("%\t%"))
        data = exported(papers, statement, "tsv")
        assert data == b'id\ttitle\n14\t"tab\there"\n'

    def test_json_lines(self, papers: Database) -> None:
        statement = select(*self.COLUMNS).where(Paper.id.in_([2, 3])).order_by(Paper.id)
        assert exported(papers, statement, "jsonl") == BYTES["jsonl"]

    def test_texts(self, papers: Database) -> None:
        statement = select(Paper.title).where(Paper.id > 8).order_by(Paper.id)
        assert exported(papers, statement, "csv", null="NULL") == (
            b'title\n\n \nplain\n"a ""quoted"", one"\n"two\nlines\r\nand\r"\n'
            + 'tab\there\n😀 é\n\\N\n"\\."\n"NULL"\n"null,"\n\'\n%s %(x)s :y $1\n'.encode()
        )

    @on("postgresql")
    def test_whatever_the_settings(self, papers: Database) -> None:
        statement = select(*self.COLUMNS).where(Paper.id < 10).order_by(Paper.id)
        for setting in (
            "TimeZone = 'Asia/Kathmandu'",
            "DateStyle = 'German'",
            "bytea_output = 'escape'",
        ):
            with papers.session() as session:
                session.execute(text(f"SET LOCAL {setting}"))
                sink = io.BytesIO()
                export(session, statement, sink, format="csv")
                lines = io.BytesIO()
                export(session, statement.where(Paper.id.in_([2, 3])), lines, format="jsonl")
            assert sink.getvalue() == BYTES["csv"]
            assert lines.getvalue() == BYTES["jsonl"]

    def test_rows_in_python_and_by_copy(
        self, papers: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        statement = select(*self.COLUMNS).order_by(Paper.id)
        for format_ in ("csv", "tsv", "jsonl"):
            first = exported(papers, statement, format_)
            with monkeypatch.context() as patched:
                patched.setattr("sessionwise.bulk.exporting.copy.DRIVERS", frozenset())
                assert exported(papers, statement, format_) == first

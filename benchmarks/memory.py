"""Memory of a process of its own: ``stream()`` over all flights, ten million rows inserted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, String, create_engine, func, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import sessionwise
from benchmarks import objects
from benchmarks.objects import Flight, rows

EVERY = 336_776
MANY = 10_000_000
BULK = ("postgresql", "sqlite")
"""Where many rows are inserted."""
KILOBYTES = 1024
"""In a megabyte."""


class Base(DeclarativeBase):
    pass


class Reading(Base):
    __tablename__ = "memory_reading"
    id: Mapped[int] = mapped_column(primary_key=True)
    sensor: Mapped[str] = mapped_column(String(20))
    value: Mapped[float]


def run(
    database: str, new_engine: Callable[[], Engine], at_most: int | None = None
) -> Iterator[tuple[str, str]]:
    """Say how much memory a process takes to read objects, and to insert rows.

    :param at_most: objects and rows, for trying.
    """
    engine = new_engine()
    yield "memory", _stream(database, engine, min(EVERY, at_most or EVERY))
    if database in BULK:
        yield "memory-bulk-insert", _insert(database, engine, min(MANY, at_most or MANY))


def _stream(database: str, engine: Engine, number: int) -> str:
    objects.Base.metadata.drop_all(engine)
    objects.Base.metadata.create_all(engine)
    with engine.begin() as connection:
        data = rows(number)
        for start in range(0, number, 10_000):
            connection.execute(insert(Flight.__table__), data[start : start + 10_000])
    taken = _in_a_child("stream", engine)
    return (
        f"stream() over {taken['rows']:,} objects on {database}: {_said(taken)} (to reach: 150), "
        f"{taken['seconds']:.0f} s"
    )


def _insert(database: str, engine: Engine, number: int) -> str:
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    taken = _in_a_child("insert", engine, number)
    with engine.connect() as connection:
        stored = connection.scalar(select(func.count()).select_from(Reading))
    Base.metadata.drop_all(engine)
    if stored != number:
        raise AssertionError(f"{stored:,} rows are stored, and {number:,} were inserted")
    return (
        f"bulk_insert of {number:,} generated rows of 3 columns on {database}: {_said(taken)} "
        f"(to reach: 200), {taken['seconds']:.0f} s, {number / taken['seconds']:,.0f} rows/s"
    )


def _said(taken: dict[str, float]) -> str:
    return f"{taken['megabytes']:.0f} MB above the interpreter with what it has imported"


def _in_a_child(what: str, engine: Engine, *arguments: int) -> dict[str, float]:
    url = engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-m", "benchmarks.memory", what, url, *map(str, arguments)]
    taken = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return json.loads(taken)  # type: ignore[no-any-return]


def stream(session: sessionwise.Session) -> int:
    """Read all objects."""
    return sum(1 for _ in session.stream(select(Flight).order_by(Flight.id)))


def fill(session: sessionwise.Session, number: int) -> int:
    """Insert rows of a generator."""
    given: Iterator[dict[str, Any]] = (
        {"id": at, "sensor": f"sensor {at % 1000}", "value": at / 7} for at in range(1, number + 1)
    )
    done = session.bulk_insert(Reading, given).inserted
    session.commit()
    return done


def measured(what: str, url: str, *arguments: str) -> dict[str, float]:
    """Do something, and measure this process."""
    work: Callable[..., int] = {"stream": stream, "insert": fill}[what]
    engine = create_engine(url)
    with engine.connect():
        before = _peak()
    started = time.perf_counter()
    with sessionwise.Session(engine) as session:
        number = work(session, *map(int, arguments))
    return {
        "rows": number,
        "megabytes": (_peak() - before) / KILOBYTES,
        "seconds": time.perf_counter() - started,
    }


def _peak() -> int:
    """Return the most memory this process has had, in kilobytes.

    Not ``ru_maxrss``, which begins with the memory of the process that has started this one.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]


if __name__ == "__main__":
    print(json.dumps(measured(*sys.argv[1:])))

"""Memory: ``stream()`` over all of the 336,776 flights, by a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import Engine, create_engine, insert, select

from benchmarks.objects import Base, Flight, rows

EVERY = 336_776
KILOBYTES = 1024
"""In a megabyte."""


def run(database: str, new_engine: Callable[[], Engine]) -> Iterator[str]:
    """Fill the table, and say how much memory a process takes to read it object by object."""
    engine = new_engine()
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        data = rows(EVERY)
        for start in range(0, EVERY, 10_000):
            connection.execute(insert(Flight.__table__), data[start : start + 10_000])
    url = engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-m", "benchmarks.memory", url]
    taken = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    yield (
        f"stream() over {taken['objects']:,} objects on {database}: "
        f"{taken['megabytes']:.0f} MB above the interpreter with what it has imported "
        f"(to reach: 150), {taken['seconds']:.0f} s"
    )


def stream(url: str) -> dict[str, float]:
    """Read all objects, and measure this process."""
    import time

    import sessionwise

    engine = create_engine(url)
    with engine.connect():
        before = _peak()
    started = time.perf_counter()
    with sessionwise.Session(engine) as session:
        objects = sum(1 for _ in session.stream(select(Flight).order_by(Flight.id)))
    peak = _peak()
    return {
        "objects": objects,
        "megabytes": (peak - before) / KILOBYTES,
        "seconds": time.perf_counter() - started,
    }


def _peak() -> int:
    """Return the most memory this process has had, in kilobytes.

    Not ``ru_maxrss``, which begins with the memory of the process that has started this one.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]


if __name__ == "__main__":
    print(json.dumps(stream(sys.argv[1])))

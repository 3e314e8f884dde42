"""A load that is killed, or interrupted, or run twice at once: each row is stored exactly once."""

from __future__ import annotations

import csv
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    func,
    select,
)

from sessionwise.transfer import LoadOptions, load
from sessionwise.transfer.checkpoint import TABLE
from tests.shop import loadable, values_of

ROWS, PIECE, KILLS = 20_000, 500, 20
BAD_EVERY = 997

# No key of the file's: a row that is stored twice is there twice.
POINTS = Table(
    "load_points",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("name", String(20), nullable=False),
    CheckConstraint("number >= 0", name="load_points_positive"),
)

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.test_load_killed"])


def run(url: str, file: str, options: LoadOptions, ready: Any) -> None:
    """Load, in a process of its own; it sends what came of it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    engine = create_engine(url)
    ready.send("ready")
    try:
        found: Any = load(engine, POINTS, [file], options)
    except BaseException as error:  # noqa: BLE001 -- it is told to the test
        found = f"{type(error).__name__}: {error} {getattr(error, '__notes__', [])}"
    ready.send(found)


def start(engine: Engine, file: Path, options: LoadOptions) -> tuple[Any, Any]:
    ours, theirs = processes.Pipe()
    # On a busy machine one of two may have to wait for SQLite's only writer for long.
    query = {"timeout": "60"} if engine.dialect.name == "sqlite" else {}
    url = engine.url.update_query_dict(query).render_as_string(hide_password=False)
    process = processes.Process(target=run, args=(url, str(file), options, theirs))
    process.start()
    theirs.close()
    assert ours.recv() == "ready"
    return process, ours


def ended(process: Any, ours: Any) -> Any:
    """Return what a process has sent, None of one that was killed."""
    try:
        found = ours.recv()
    except EOFError:
        found = None
    process.join()
    ours.close()
    return found


@pytest.fixture
def engine(server_url: Any, tmp_path: Path) -> Iterator[Engine]:
    with loadable(server_url, tmp_path, POINTS) as engine:
        yield engine


def is_bad(number: int) -> bool:
    return number % BAD_EVERY == BAD_EVERY - 1


def write(path: Path, *, bad: bool, rows: int = ROWS) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["number", "name"])
        for number in range(rows):
            writer.writerow([-number if bad and is_bad(number) else number, f"name {number}"])
    return path


def numbers(engine: Engine) -> list[int]:
    return values_of(engine, POINTS.c.number)


def empty(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(POINTS.delete())
        connection.execute(TABLE.delete())


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("jobs", "bad"), [(1, False), (2, True)], ids=["clean", "rejects"])
def test_killed_at_any_moment_each_row_is_stored_once(
    engine: Engine, tmp_path: Path, jobs: int, bad: bool
) -> None:
    file, rejects = write(tmp_path / "points.csv", bad=bad), tmp_path / "rejects.csv"
    options = LoadOptions(
        commit_every=PIECE, resume=True, jobs=jobs, rejects=rejects if bad else None
    )
    chance = random.Random(f"{engine.dialect.name} {jobs}")
    killed = rounds = 0
    while killed < KILLS:
        rounds += 1
        done = False
        while not done:
            process, ours = start(engine, file, options)
            if killed < KILLS:
                time.sleep(chance.uniform(0, 0.25))
                process.kill()
            found = ended(process, ours)
            assert found is None or not isinstance(found, str), found
            killed += found is None
            done = found is not None
        stored = [number for number in range(ROWS) if not (bad and is_bad(number))]
        assert numbers(engine) == stored
        assert found.read + found.resumed >= len(stored)
        assert found.inserted + found.resumed == len(stored)
        if bad:
            with rejects.open(newline="") as lines:
                positions = sorted(int(one["reject_position"]) for one in csv.DictReader(lines))
            assert positions == [number for number in range(ROWS) if is_bad(number)]
            rejects.unlink()
        with engine.connect() as connection:
            assert connection.scalar(select(func.count()).select_from(TABLE)) == 1
        empty(engine)
    assert killed >= KILLS


@pytest.mark.parametrize("jobs", [1, 2])
def test_two_at_once_store_each_row_once(engine: Engine, tmp_path: Path, jobs: int) -> None:
    file = write(tmp_path / "points.csv", bad=False)
    load_first = LoadOptions(commit_every=PIECE, resume=True, jobs=jobs)
    TABLE.create(engine)
    both = [start(engine, file, load_first) for _ in range(2)]
    found = [ended(*one) for one in both]
    if any(isinstance(one, str) for one in found):  # both began at the same moment
        assert [one for one in found if isinstance(one, str) and "another process" in one]
    assert numbers(engine) == list(range(ROWS))
    complete = [one for one in found if not isinstance(one, str)]
    assert complete
    for one in complete:
        assert one.inserted + one.resumed == ROWS


@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted_it_says_what_is_stored(engine: Engine, tmp_path: Path, jobs: int) -> None:
    file = write(tmp_path / "points.csv", bad=False, rows=400_000)
    options = LoadOptions(commit_every=PIECE, resume=True, jobs=jobs)
    process, ours = start(engine, file, options)
    deadline = time.monotonic() + 60
    while not numbers(engine) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    said = ended(process, ours)
    assert said.startswith("KeyboardInterrupt")
    stored = numbers(engine)
    assert 0 < len(stored) < 400_000
    assert len(stored) % PIECE == 0
    assert f"{len(stored):,} rows of this load are stored" in said
    assert "resume=True" in said

"""The command ``load`` beside the commands of others: a process each, on the same CSV file.

Each is started, reads the file, writes and commits within what is timed; the table is emptied, or
dropped, before, and its rows are counted after.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from benchmarks.bulk_data import COLUMNS, KEYLESS, Base, Flights, flights
from benchmarks.bulk_peers import (
    Peer,
    available,
    libpq,
    mariadb_shell,
    psql,
    sqlite_shell,
)
from benchmarks.harness import Result, compare

CASE = "load"
ROUNDS = 5
"""At most: some contenders take seconds for each."""
PATIENCE = 30.0
"""Seconds after which a contender has had its rounds."""
ROWS = 336_776
"""All there are."""
TARGET = "faster than sqlite-utils, and than pgloader"

NAMES = ", ".join(COLUMNS)
PGLOADER = """LOAD CSV FROM '{file}' HAVING FIELDS ({fields})
INTO {url} TARGET TABLE {table} ({columns})
WITH skip header = 1, fields terminated by ',', fields optionally enclosed by '"',
drop indexes;
"""


def run(
    database: str, new_engine: Callable[[], Engine], rounds: int, at_most: int | None = None
) -> Iterator[Result]:
    """Load all flights by each command there is.

    :param at_most: rows, for trying.
    """
    rows = ROWS if at_most is None else min(ROWS, at_most)
    engine = new_engine()
    Base.metadata.drop_all(engine)
    with tempfile.TemporaryDirectory() as directory:
        data = flights(rows, Path(directory))
        data.csv  # noqa: B018 - it is written now, and not in the first round
        peers = available(PEERS, database)
        contenders: dict[str, Callable[[], object]] = {
            one.name: partial(one.work, engine, data) for one in peers
        }
        contenders["sessionwise load"] = lambda: _ours(engine, data)
        contenders["sessionwise load --jobs 2"] = lambda: _ours(engine, data, "--jobs=2")
        contenders["sessionwise load --create"] = lambda: _ours(engine, data, "--create")
        timings = compare(
            contenders,
            rounds=min(rounds, ROUNDS),
            warm_up=1,
            before=lambda: _empty(engine),
            after=lambda: _see(engine, rows),
            patience=PATIENCE,
        )
    _drop(engine)
    unit = f"load {rows:,} flights of 19 columns, a CSV file, by a command; its start is in it"
    yield Result(CASE, database, unit, TARGET, timings)


def _drop(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"DROP TABLE IF EXISTS {KEYLESS.name}"))
        connection.execute(text("DROP TABLE IF EXISTS sessionwise_load"))


def _empty(engine: Engine) -> None:
    """Give a table that has no rows; what is known of earlier loads goes, too."""
    _drop(engine)
    KEYLESS.create(engine)


def _see(engine: Engine, rows: int) -> None:
    with engine.connect() as connection:
        found = connection.scalar(text(f"SELECT count(*) FROM {KEYLESS.name}"))
    if found != rows:
        raise AssertionError(f"{found} rows are stored, and not {rows}")


def _ours(engine: Engine, data: Flights, *more: str) -> None:
    if "--create" in more:
        KEYLESS.drop(engine)
    url = engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-m", "sessionwise.cli", "load", str(data.csv), "--into", url]
    command += ["--table", KEYLESS.name, "--quiet", *more]
    subprocess.run(command, check=True, capture_output=True)


def _psql(engine: Engine, data: Flights) -> None:
    psql(engine, f"\\copy {KEYLESS.name} ({NAMES}) from '{data.csv}' with (format csv, header)")


def _sqlite_import(engine: Engine, data: Flights) -> None:
    sqlite_shell(engine, ".mode csv", f".import --skip 1 '{data.csv}' {KEYLESS.name}")


def _load_data(engine: Engine, data: Flights) -> None:
    given = ", ".join(f"@{name}" for name in COLUMNS)
    values = ", ".join(f"{name} = nullif(@{name}, '')" for name in COLUMNS)
    mariadb_shell(
        engine,
        f"LOAD DATA LOCAL INFILE '{data.csv}' INTO TABLE {KEYLESS.name} "
        f"FIELDS TERMINATED BY ',' IGNORE 1 LINES ({given}) SET {values}",
    )


def _sqlite_utils(engine: Engine, data: Flights) -> None:
    command = [sys.executable, "-m", "sqlite_utils", "insert", str(engine.url.database)]
    command += [KEYLESS.name, str(data.csv), "--csv", "--silent", "--empty-null"]
    subprocess.run(command, check=True, capture_output=True)


def _pgloader(engine: Engine, data: Flights) -> None:
    fields = ", ".join(f"{name} [null if blanks]" for name in COLUMNS)
    script = data.directory / "flights.load"
    script.write_text(
        PGLOADER.format(
            file=data.csv,
            fields=fields,
            url=_url_of_pgloader(engine),
            table=KEYLESS.name,
            columns=NAMES,
        )
    )
    subprocess.run(
        ["pgloader", "--root-dir", data.directory, "--quiet", script],
        check=True,
        capture_output=True,
    )


def _url_of_pgloader(engine: Engine) -> str:
    """Return a URL as it writes them: a directory with a socket has a form of its own."""
    url = engine.url
    directory: Any = url.query.get("host")
    if not directory:
        return libpq(engine)
    return f"postgresql://{url.username}@unix:{directory}:{url.port or 5432}/{url.database}"


PEERS = (
    Peer("psql's \\copy", _psql, ("postgresql",), ("$ psql",)),
    Peer("sqlite3's .import", _sqlite_import, ("sqlite",), ("$ sqlite3",)),
    Peer("mariadb's LOAD DATA LOCAL", _load_data, ("mariadb",), ("$ mariadb",)),
    Peer("sqlite-utils insert", _sqlite_utils, ("sqlite",), ("sqlite_utils",)),
    Peer("pgloader", _pgloader, ("postgresql",), ("$ pgloader",)),
)
"""The first is the reference, where it is there."""

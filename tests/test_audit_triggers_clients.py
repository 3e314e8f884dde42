"""Triggers: what the databases' own programs and their ways to take a file in do is recorded."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from sessionwise.audit import Audit
from tests.backends import Database, on
from tests.triggered import (
    Client,
    assert_replays,
    audited,
    empty,
    happened,
    in_order,
    logged,
    on_each,
    things,
)


@pytest.fixture(scope="module")
def audit(database: Database) -> Iterator[Audit]:
    with audited(database.observer, things) as audit:
        yield audit


@pytest.fixture
def engine(database: Database, audit: Audit) -> Engine:
    empty(database.observer, things)
    return database.observer


REPLACES = "REPLACE INTO thing (id, code) VALUES (3, 'b');"
SCRIPT = """
INSERT INTO thing (id, code) VALUES (1, 'é'), (2, 'b');
{replace}
UPDATE thing SET shelf = 1, box = id;
DELETE FROM thing;
"""


def of_sqlite(engine: Engine, charset: str) -> list[str]:
    return ["sqlite3", "-bail", engine.url.database or ""]


def of_postgresql(engine: Engine, charset: str) -> list[str]:
    url = engine.url.set(drivername="postgresql")
    options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
    return ["psql", *options, url.render_as_string(hide_password=False)]


def of_mariadb(engine: Engine, charset: str) -> list[str]:
    url = engine.url
    command = ["mariadb", "--no-defaults", f"--host={url.host}", f"--port={url.port or 3306}"]
    command += [f"--user={url.username}", f"--default-character-set={charset}", str(url.database)]
    return [*command, f"--password={url.password}"] if url.password else command


def run_script(engine: Engine, charset: str, encoding: str) -> None:
    server = engine.dialect.name
    replace = REPLACES
    if server == "postgresql":
        replace = "DELETE FROM thing WHERE id = 2; INSERT INTO thing (id, code) VALUES (3, 'b');"
    commands = {"sqlite": of_sqlite, "postgresql": of_postgresql, "mariadb": of_mariadb}
    command = commands[server](engine, charset)
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} on the PATH")
    subprocess.run(
        command,
        input=SCRIPT.format(replace=replace).encode(encoding),
        env={**os.environ, "PGCLIENTENCODING": charset},
        check=True,
    )


def assert_recorded(engine: Engine) -> None:
    assert in_order((action, key) for action, _, key in happened(engine)) == in_order(
        [
            *(("INSERT", "1"), ("INSERT", "2"), ("DELETE", "2"), ("INSERT", "3")),
            *(("UPDATE", "1"), ("UPDATE", "3"), ("DELETE", "1"), ("DELETE", "3")),
        ]
    )
    assert logged(engine)[0].new["code"] == "é"
    assert_replays(engine)


@on_each
def test_the_command_line_is_recorded(engine: Engine) -> None:
    run_script(engine, {"mariadb": "utf8mb4"}.get(engine.dialect.name, "UTF8"), "utf-8")
    assert_recorded(engine)


@on("psycopg", "pymysql")  # SQLite's has no other encoding
def test_the_command_line_is_recorded_in_another_encoding(engine: Engine) -> None:
    run_script(engine, "latin1", "cp1252")
    assert_recorded(engine)


@on("psycopg")
def test_copy_is_recorded(engine: Engine) -> None:
    with Client(engine) as raw:
        with raw.connection.cursor() as cursor:
            with cursor.copy("COPY thing (id, code) FROM STDIN") as copy:
                for number in range(1000):
                    copy.write_row((number, f"é {number}"))
    assert happened(engine) == [("INSERT", "thing", str(n)) for n in range(1000)]
    assert_replays(engine)


@on("pymysql")
def test_load_data_is_recorded(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "things.txt"
    file.write_text("1\ta\n2\té\n", encoding="utf-8")
    load = (
        f"LOAD DATA LOCAL INFILE '{file}' {{}} INTO TABLE thing CHARACTER SET utf8mb4 (id, code)"
    )
    with Client(engine, local_infile=True) as raw:
        raw.execute(load.format(""))
        assert [one.new["code"] for one in logged(engine)] == ["a", "é"]
        file.write_text("2\tb\n3\tc\n", encoding="utf-8")
        raw.execute(load.format("REPLACE"))
    assert_replays(engine)
    assert len(logged(engine)) == 5

"""``sessionwise dump``, in processes of its own."""

from __future__ import annotations

import csv
import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sessionwise.bulk import read
from tests.shop import COMMAND, CSV, Shop, is_well, opened, told


@pytest.fixture
def shop(server_url: Any, tmp_path: Path) -> Iterator[Shop]:
    """Give a database with the two rows of ``CSV``."""
    with opened(server_url, tmp_path, Shop) as shop:
        is_well(shop.load(shop.write("a.csv", CSV), "--create", "--key", "id"))
        yield shop


@pytest.mark.parametrize("name", ["a.csv", "a.tsv.gz", "a.jsonl.zst", "a.parquet", "a.arrow"])
def test_table(shop: Shop, name: str) -> None:
    out = shop.folder / f"out.{name}"
    done = json.loads(is_well(shop.dump("--table", shop.table, str(out), "--json")).stdout)
    assert list(done) == [
        "file",
        "format",
        "rows",
        "bytes",
        "seconds",
        "rows_per_second",
        "writer",
    ]
    assert (done["rows"], done["bytes"], done["file"]) == (2, out.stat().st_size, str(out))
    rows = sorted(read(out), key=lambda one: int(one["id"]))
    assert [str(one["id"]) for one in rows] == ["1", "2"]
    assert [one["zip"] for one in rows] == ["007", "10115"]
    assert [float(one["price"]) for one in rows] == [1.5, -0.25]
    assert [one["note"] for one in rows] == ["é", None]
    assert [str(one["day"]) for one in rows] == ["2024-02-29", "None"]


def test_same_bytes_from_every_database(shop: Shop) -> None:
    """But a moment has its zone, UTC, only where the database has zones."""
    text = is_well(shop.dump("--table", shop.table, "--format", "csv", "-", "--quiet")).stdout
    zone = "+00" if shop.backend == "postgresql" else ""
    true, false = ("1", "0") if shop.backend == "mariadb" else ("true", "false")
    assert text.splitlines() == [
        "id,zip,price,paid,day,at,moment,note",
        f"1,007,1.5,{true},2024-02-29,2024-01-01 10:00:00.5,2024-01-01 00:00:00{zone},é",
        f"2,10115,-0.25,{false},,2024-01-02 10:00:00,2024-06-01 02:00:00{zone},",
    ]


def test_select(shop: Shop) -> None:
    query = f"SELECT id AS no, ':x' AS x FROM {shop.table} WHERE id > 1;"
    done = shop.dump("--sql", query, "--format", "csv", "-")
    assert done.returncode == 0
    assert done.stdout == "no,x\n2,:x\n"
    assert "rows: 1" in done.stderr.splitlines()


def test_null(shop: Shop) -> None:
    query = f"SELECT id, note FROM {shop.table} ORDER BY id"
    done = is_well(shop.dump("--sql", query, "--format", "tsv", "--null", "NULL", "-", "-q"))
    assert list(csv.reader(done.stdout.splitlines(), delimiter="\t"))[1:] == [
        ["1", "é"],
        ["2", "NULL"],
    ]


def test_on_a_terminal(shop: Shop) -> None:
    ours, theirs = pty.openpty()
    out = str(shop.folder / "out.csv")
    arguments = ["dump", "--from", shop.url, "--table", shop.table, out]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the other side is closed
        while some := os.read(ours, 65536):
            shown += some
    os.close(ours)
    assert process.wait(60) == 0
    assert b"writing" in shown
    assert b"dumped" in shown


def test_reader_that_goes_away_is_no_error(shop: Shop) -> None:
    is_well(shop.load(shop.numbers("more.csv", 50_000), "--table", f"{shop.table}n", "--create"))
    arguments = ["dump", "--from", shop.url, "--table", f"{shop.table}n", "--format", "csv", "-"]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"id\n"
    process.stdout.close()
    said = process.stderr.read().decode()
    process.stderr.close()
    process.wait(60)
    shop.execute(f"DROP TABLE {shop.table}n")
    assert said == ""


def test_interrupted_it_leaves_no_file(shop: Shop) -> None:
    numbers = ", ".join(f"{shop.table} t{at}" for at in range(30))
    query = f"SELECT t1.id FROM {numbers}"  # a billion rows
    (folder := shop.folder / "out").mkdir()
    arguments = ["dump", "--from", shop.url, "--sql", query, str(folder / "a.csv")]
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True)
    while not any(one.stat().st_size for one in folder.iterdir()):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, line = process.communicate(timeout=60)
    assert (process.returncode, line) == (130, "sessionwise: interrupted\n")
    assert list(folder.iterdir()) == []


def test_input_at_fault(shop: Shop) -> None:
    out = str(shop.folder / "out.csv")
    is_well(shop.dump("--table", shop.table, out))
    assert "use --force to overwrite it" in told(shop.dump("--table", shop.table, out))
    is_well(shop.dump("--table", shop.table, out, "--force"))
    assert "say what to dump" in told(shop.dump(out, "--force"))
    both = shop.dump("--table", shop.table, "--sql", "SELECT 1", out, "--force")
    assert "say what to dump" in told(both)
    assert "there is no table 'no_such'" in told(shop.dump("--table", "no_such", out, "--force"))
    near = told(shop.dump("--table", shop.table[:-1], out, "--force"))
    assert f"did you mean {shop.table!r}?" in near
    assert "--from is not a database URL" in told(
        shop.run("dump", "--from", "x", "--table", "t", out, "--force")
    )
    assert "is a directory; name a file in it" in told(
        shop.dump("--table", shop.table, str(shop.folder))
    )
    assert "No such file or directory; correct its name" in told(
        shop.dump("--table", shop.table, str(shop.folder / "none" / "out.csv"))
    )
    assert "or say --format" in told(shop.dump("--table", shop.table, str(shop.folder / "x.xls")))
    assert "use --format csv" in told(shop.dump("--table", shop.table, "-"))
    for end in ("parquet.gz", "arrow.zst"):
        line = told(shop.dump("--table", shop.table, str(shop.folder / f"x.{end}")))
        assert "have their compression inside" in line
    assert "column" in told(shop.dump("--sql", f"SELECT nope FROM {shop.table}", out, "--force"))


def test_sql_writes_nothing(shop: Shop) -> None:
    for sql in (
        f"DELETE FROM {shop.table}",
        f"SELECT 1; DELETE FROM {shop.table}",
        f"WITH x AS (DELETE FROM {shop.table} RETURNING id) SELECT * FROM x",
        f"EXPLAIN ANALYZE DELETE FROM {shop.table}",
    ):
        line = told(shop.dump("--sql", sql, str(shop.folder / "out.csv")))
        assert "is not a SELECT" in line
    assert shop.count() == 2


def test_database_that_is_not_there(shop: Shop) -> None:
    out = str(shop.folder / "out.csv")
    missing = shop.folder / "none.db"
    line = told(shop.run("dump", "--from", f"sqlite:///{missing}", "--table", "t", out))
    assert line == f"{missing} cannot be opened (there is no such file)"
    assert not missing.exists()


def test_full_disk(shop: Shop) -> None:
    done = shop.dump("--table", shop.table, "--format", "csv", "/dev/full", "--force")
    assert "No space left on device; make room" in told(done)

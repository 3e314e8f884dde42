"""``sessionwise load``, in processes of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import sessionwise.cli.display
from sessionwise.bulk import read
from sessionwise.cli.app import app
from tests.shop import COMMAND, CSV, Shop, is_well, opened


@pytest.fixture
def shop(server_url: Any, tmp_path: Path) -> Iterator[Shop]:
    with opened(server_url, tmp_path, Shop) as shop:
        yield shop


@pytest.mark.parametrize("format_", ["csv", "tsv", "jsonl", "parquet", "arrow"])
def test_round_trip(shop: Shop, format_: str) -> None:
    """What is dumped, loaded with --create and dumped again is the same."""
    is_well(shop.load(shop.write("a.csv", CSV), "--create", "--key", "id"))
    end = format_ if format_ in {"parquet", "arrow"} else f"{format_}.gz"
    first, second = (str(shop.folder / f"{name}.{end}") for name in ("one", "two"))
    query = f"SELECT * FROM {shop.table} ORDER BY id"
    is_well(shop.dump("--sql", query, first))
    shop.execute(f"DROP TABLE {shop.table}")
    is_well(shop.load(first, "--create", "--key", "id"))
    is_well(shop.dump("--sql", query, second))
    rows = [*read(first)]
    assert len(rows) == 2
    assert [*read(second)] == rows


def test_types_and_values(shop: Shop) -> None:
    is_well(shop.load(shop.write("a.csv", CSV), "--create", "--key", "id"))
    columns = {one["name"]: one for one in sa.inspect(shop.engine).get_columns(shop.table)}
    assert isinstance(columns["id"]["type"], sa.Integer)
    assert isinstance(columns["zip"]["type"], sa.String)
    assert isinstance(columns["price"]["type"], sa.Float | sa.Numeric)
    assert isinstance(columns["day"]["type"], sa.Date)
    assert {name for name, one in columns.items() if one["nullable"]} == {"day", "note"}
    with shop.engine.connect() as connection:
        statement = sa.text(f"SELECT zip, price, note FROM {shop.table} ORDER BY id")
        assert connection.execute(statement).all() == [("007", 1.5, "é"), ("10115", -0.25, None)]


def test_upsert_into_what_create_made(shop: Shop) -> None:
    file = shop.write("a.csv", CSV)
    is_well(shop.load(file, "--create", "--key", "id"))
    done = is_well(shop.load(file, "--create", "--key", "id", "--upsert", "--json"))
    found = json.loads(done.stdout)
    assert (found["read"], found["inserted"], found["rejected"]) == (2, 0, 0)
    assert shop.count() == 2


def test_rejects_are_exit_code_1(shop: Shop) -> None:
    shop.execute(f"CREATE TABLE {shop.table} (id INTEGER PRIMARY KEY, name VARCHAR(9) NOT NULL)")
    file = shop.write("a.csv", "id,name\n1,a\ntwo,b\n3,c\n")
    bad = shop.folder / "bad.csv"
    done = shop.load(file, "--rejects", str(bad))
    assert (done.returncode, done.stderr) == (1, "")
    assert "rejected: 1" in done.stdout.splitlines()
    assert "two" in bad.read_text()
    assert shop.count() == 2


def test_stdin_and_stdout(shop: Shop) -> None:
    is_well(shop.load("-", "--format", "csv", "--create", "--quiet", input="a,b\n1,x\n"))
    done = shop.dump("--table", shop.table, "--format", "csv", "--quiet", "-")
    assert is_well(done).stdout == "a,b\n1,x\n"


def test_map_renames_and_leaves_out(shop: Shop) -> None:
    is_well(shop.load(shop.write("a.csv", CSV), "--create", "--map", "id=no", "--map", "at="))
    names = [one["name"] for one in sa.inspect(shop.engine).get_columns(shop.table)]
    assert names == ["no", "zip", "price", "paid", "day", "moment", "note"]


def test_bar_on_a_terminal(shop: Shop) -> None:
    file = shop.numbers("a.csv", 200_000)
    ours, theirs = pty.openpty()
    arguments = shop.loading(file, "--create")
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the other side is closed
        while some := os.read(ours, 65536):
            shown += some
    os.close(ours)
    assert process.wait(60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    last = [one for one in re.split(r"[\r\n]+", text) if one.startswith("loading a.csv")][-1]
    assert re.fullmatch(r"loading a\.csv [━╸╺]+ [0-9,]+ rows, [0-9,]+ rows/s -?[0-9:-]+ *", last)
    assert f"loaded into {shop.table}" in text
    assert re.search(r"inserted +│ +200,000 │", text)


def test_piped_it_is_plain(shop: Shop) -> None:
    done = is_well(shop.load(shop.write("a.csv", CSV), "--create"))
    names = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert names == [
        "files",
        "read",
        "inserted",
        "updated",
        "skipped",
        "rejected",
        "resumed",
        "seconds",
        "rows per second",
        "writer",
    ]
    assert "inserted: 2" in done.stdout
    assert "\x1b" not in done.stdout
    done = is_well(shop.load(str(shop.folder / "a.csv"), "--create", "--quiet"))
    assert (done.stdout, done.stderr) == ("", "")
    assert shop.count() == 4


def test_progress_is_lines(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, where it need not be waited for."""
    monkeypatch.setattr(sessionwise.cli.display, "_EVERY", 0.0)
    file = shop.numbers("a.csv", 30)
    app(shop.loading(file, "--create", "--commit-every", "10"), standalone_mode=False)
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub("[0-9,]+ rows/s", "", line) for line in lines] == [
        "looking at types: 30 rows, ",
        "loading a.csv: 10 rows, , 100%",
        "loading a.csv: 20 rows, , 100%",
        "loading a.csv: 30 rows, , 100%",
    ]


def test_interrupted_in_one_transaction_nothing_is_stored(shop: Shop) -> None:
    file = shop.numbers("a.csv", 600_000)
    shop.execute(f"CREATE TABLE {shop.table} (id INTEGER PRIMARY KEY)")
    ours, theirs = pty.openpty()  # it shows when it has begun
    process = subprocess.Popen([*COMMAND, *shop.loading(file)], stderr=theirs)
    os.close(theirs)
    shown, is_told = b"", False
    with suppress(OSError):  # the other side is closed
        while some := os.read(ours, 65536):
            shown += some
            if b" rows/s" in shown and not is_told:
                process.send_signal(signal.SIGINT)
                is_told = True
    os.close(ours)
    assert process.wait(60) == 130
    assert b"sessionwise: interrupted; Nothing of this load is stored" in shown
    assert shop.count() == 0


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_and_resume(shop: Shop, ending: int) -> None:
    file = shop.numbers("a.csv", 400_000)
    shop.execute(f"CREATE TABLE {shop.table} (id INTEGER PRIMARY KEY)")
    arguments = shop.loading(file, "--commit-every", "2000")
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True)
    while shop.count() == 0:
        time.sleep(0.01)
    process.send_signal(ending)
    _, line = process.communicate(timeout=60)
    assert process.returncode == 130
    assert line.startswith("sessionwise: interrupted; ")
    assert "resume" in line
    assert 0 < shop.count() < 400_000
    assert f"{shop.count():,} rows of this load are stored" in line
    is_well(shop.load(file, "--commit-every", "2000", "--resume", "--quiet"))
    assert shop.count() == 400_000

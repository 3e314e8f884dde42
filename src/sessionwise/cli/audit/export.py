"""``sessionwise audit export``."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

from sessionwise.audit.asking.recorded import PAGE, check_tables, page
from sessionwise.cli.audit.asking import wanted
from sessionwise.cli.audit.display import Display, as_dict
from sessionwise.cli.audit.options import Actor, Db, Since, Tables, Until, opened
from sessionwise.cli.errors import InputError
from sessionwise.cli.options import AsJson, Debug

__all__ = ["export"]


def export(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The file to write, JSON Lines; - is stdout.")
    ],
    *,
    db: Db,
    since: Since = None,
    until: Until = None,
    actor: Actor = None,
    table: Tables = None,
    after: Annotated[
        int,
        typer.Option(
            "--after", metavar="ID", help="Changes with a higher number than this, to go on."
        ),
    ] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a file that is there already.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write changes into a file, one JSON object a line, in the order of their numbers.

    The file appears when it is whole. However many there are, it takes no more memory.

    Examples:
        sessionwise audit export --db sqlite:///shop.db changes.jsonl

        sessionwise audit export --db sqlite:///shop.db - --table customers | jq .new

    Exit codes: 0 the file is whole, 2 the input is at fault, 130 interrupted.

    """
    with opened(context, db, "export", debug=debug) as engine, engine.connect() as connection:
        check_tables(connection)
        chosen = wanted(connection, since=since, until=until, actor=actor, names=table)
        count, last = 0, after
        with _output(file, force=force) as output:
            while found := page(connection, chosen, after=last, size=PAGE):
                output.writelines(
                    f"{json.dumps(as_dict(one), ensure_ascii=False)}\n" for one in found
                )
                count, last = count + len(found), found[-1].id
        if file != "-":
            display, facts = Display(as_json=as_json), {"changes": count, "last_id": last}
            if as_json:
                display.json({"file": file, **facts})
            else:
                typer.echo(f"{file}: {count:,} changes, the last has the number {last}")


@contextmanager
def _output(file: str, *, force: bool) -> Iterator[TextIO]:
    """Give what is written to; a file gets its name when it is whole."""
    if file == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    path = Path(file)
    if path.exists() and not force:
        raise InputError(f"{file} is there already; use --force to overwrite it, or another name")
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as output:
            yield output
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)

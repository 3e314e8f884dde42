"""``sessionwise audit log`` and ``show``: they need the audit's tables, and no models."""

import json
from datetime import datetime
from typing import Annotated

import typer
from sqlalchemy import Connection, select

from sessionwise.audit.asking.recorded import Wanted, check_tables, latest, life_of
from sessionwise.audit.encode import key_text
from sessionwise.audit.tables import LOG
from sessionwise.cli import tables
from sessionwise.cli.audit.display import Display
from sessionwise.cli.audit.options import Actor, Db, Since, Tables, Until, opened
from sessionwise.cli.errors import InputError
from sessionwise.cli.options import AsJson, Debug

__all__ = ["log", "show", "wanted"]


def log(
    context: typer.Context,
    *,
    db: Db,
    since: Since = None,
    until: Until = None,
    actor: Actor = None,
    table: Tables = None,
    transaction: Annotated[
        int | None,
        typer.Option("--transaction", metavar="ID", help="Of this transaction, by its number."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="The last N of them.")
    ] = 50,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the last changes, oldest first.

    Examples:
        sessionwise audit log --db sqlite:///shop.db --actor alice --since 2026-01-31

    Exit codes: 0 there it is, 2 the input is at fault, 130 interrupted.

    """
    with opened(context, db, "log", debug=debug) as engine, engine.connect() as connection:
        check_tables(connection)
        chosen = wanted(
            connection,
            since=since,
            until=until,
            actor=actor,
            names=table,
            transaction=transaction,
        )
        Display(as_json=as_json).changes(latest(connection, chosen, limit))


def show(
    context: typer.Context,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="The table, or schema.table.")],
    ident: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="The row's primary key; a composite one as JSON: '[1, \"a\"]'."
        ),
    ],
    *,
    db: Db,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what has become of a row, oldest first, also under the keys that it had before.

    Examples:
        sessionwise audit show --db sqlite:///shop.db customers 42

    Exit codes: 0 there it is, 2 the input is at fault, 130 interrupted.

    """
    with opened(context, db, "show", debug=debug) as engine, engine.connect() as connection:
        check_tables(connection)
        _check_names(connection, [table])
        found = life_of(connection, table, _key(ident))
        if not found:
            raise InputError(
                f"no change of {table} {ident} is recorded; audit log --table {table} lists those "
                "that are"
            )
        Display(as_json=as_json).history(found)


def wanted(
    connection: Connection,
    *,
    since: str | None,
    until: str | None,
    actor: str | None,
    names: list[str] | None,
    transaction: int | None = None,
) -> Wanted:
    """Return what is asked for by options.

    :raises InputError: for a moment that is none, and a table of which nothing is recorded.
    """
    if names:
        _check_names(connection, names)
    return Wanted(
        _moment(since, "--since"), _moment(until, "--until"), actor, names or None, transaction
    )


def _check_names(connection: Connection, names: list[str]) -> None:
    known = sorted(connection.scalars(select(LOG.c.table).distinct()))
    for name in names:
        if name not in known:
            near = tables.near(name, known) or "nothing is recorded yet"
            raise InputError(f"no change of a table {name!r} is recorded; {near}")


def _moment(text: str | None, option: str) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{option} {text!r} is no moment; write it as 2026-01-31 or 2026-01-31T12:00+01:00"
        ) from None


def _key(ident: str) -> str:
    """Return a key as it is recorded, however the JSON of a composite one was written."""
    if not ident.startswith("["):
        return ident
    try:
        return key_text([json.loads(ident)])
    except ValueError:
        return ident

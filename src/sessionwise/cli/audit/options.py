"""Options that the commands of the audit share, and what they open."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sessionwise.cli import tables
from sessionwise.cli.errors import InputError, told_in_one_line
from sessionwise.cli.urls import checked_url
from sessionwise.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

__all__ = ["Actor", "Db", "Models", "Since", "Tables", "Until", "opened"]

Db = Annotated[
    str,
    typer.Option(
        "--db",
        metavar="URL",
        help="The database, as an SQLAlchemy URL, such as sqlite:///file.db.",
    ),
]
Models = Annotated[
    str | None,
    typer.Option(
        "--models",
        metavar="MODULE:NAME",
        help=(
            "Where the tables are declared: a MetaData, a declarative base or an Audit, such as "
            "myapp.models:Base. By default all tables of the database are audited, as they are."
        ),
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="From this moment on: 2026-01-31 or 2026-01-31T12:00+01:00.",
    ),
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before this moment.")]
Actor = Annotated[
    str | None, typer.Option("--actor", metavar="NAME", help="What this actor has changed.")
]
Tables = Annotated[
    list[str] | None,
    typer.Option("--table", metavar="NAME", help="Of this table; may be given several times."),
]


@contextmanager
def opened(context: typer.Context, db: str, command: str, *, debug: bool) -> Iterator[Engine]:
    """Give the database's engine; tell errors in one line."""
    with told_in_one_line(debug=debug or bool(root(context).obj)) as told:
        told.command = f"audit {command}"
        told.url = url = checked_url(db, "--db", told.command)
        with tables.engine_of(url) as engine:
            told.has_answered = True
            try:
                yield engine
            except AuditError as error:  # there are no tables
                raise InputError(f"{error}; or run: sessionwise audit install") from error


def root(context: Any) -> Any:
    """Return the context of ``sessionwise``, which knows what was asked of every command."""
    return context.find_root()

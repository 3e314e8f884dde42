"""Options that commands share, with their help."""

from typing import Annotated

import typer

__all__ = ["AsJson", "Database", "Debug", "Quiet"]

Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="URL",
        help=(
            "The database, as an SQLAlchemy URL, such as postgresql://user@host/name or "
            "mariadb://user@host/name. By default a temporary SQLite file."
        ),
    ),
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error, not only its one line.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]

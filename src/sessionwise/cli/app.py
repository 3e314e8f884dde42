"""The app: what is true of every command, and the commands by name."""

import platform
from importlib import metadata
from typing import Annotated

import sqlalchemy
import typer

from sessionwise.cli.audit import audit
from sessionwise.cli.dump import dump
from sessionwise.cli.load import load
from sessionwise.cli.options import Debug
from sessionwise.cli.tour import tour

__all__ = ["app"]

app = typer.Typer(
    name="sessionwise",
    help="The session layer for SQLAlchemy 2.1, at work.",
    epilog=(
        "Exit codes: 0 all is well, 1 a promise is broken or a row rejected, "
        "2 the input is at fault, 130 interrupted."
    ),
    add_completion=False,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(tour)
app.command()(load)
app.command()(dump)
app.add_typer(audit, name="audit")


def _show_version(asked: bool) -> None:
    if asked:
        try:
            ours = metadata.version("sessionwise")
        except metadata.PackageNotFoundError:  # run from its source
            ours = "(not installed)"
        typer.echo(
            f"sessionwise {ours}, SQLAlchemy {sqlalchemy.__version__}, "
            f"Python {platform.python_version()}"
        )
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show versions, and stop."
        ),
    ] = False,
    debug: Debug = False,
) -> None:
    """Keep what was asked of every command; without a command, show the help."""
    context.obj = debug
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)

"""``sessionwise audit``: one file for each group of its commands."""

import typer

from sessionwise.cli.audit.asking import log, show
from sessionwise.cli.audit.export import export
from sessionwise.cli.audit.installing import backfill, doctor, install

__all__ = ["audit"]

audit = typer.Typer(
    help="Record who has changed what in a database, and ask it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (install, doctor, backfill, log, show, export):
    audit.command()(command)

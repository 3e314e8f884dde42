"""``sessionwise tour``."""

import json
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from sqlalchemy import URL

from sessionwise.cli.errors import InputError, told_in_one_line
from sessionwise.cli.options import Database, Debug
from sessionwise.cli.urls import checked_url
from sessionwise.tour import report
from sessionwise.tour.chapter import Chapter
from sessionwise.tour.chapters import chapters
from sessionwise.tour.runner import Result, play
from sessionwise.tour.stage import open_stage

__all__ = ["tour"]

WIDTH = 100
"""Columns beyond which lines get no longer, however wide the terminal is."""


def tour(
    context: typer.Context,
    *,
    db: Database = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="N", help="Play chapter N and no other.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, and nothing else.")
    ] = False,
    debug: Debug = False,
) -> None:
    """See each promise kept: the same code on plain SQLAlchemy and on sessionwise.

    It works in tables of its own, and takes them away when it ends.
    """
    console = _console(quiet=as_json)
    with told_in_one_line(debug=debug or bool(context.obj)) as told:
        chosen = _choose(only, chapters())
        told.url = url = None if db is None else checked_url(db)
        played = _play(chosen, url, console)
    if as_json:
        typer.echo(json.dumps(report.as_json(played), indent=2))
    if not played.is_good:
        raise typer.Exit(1)


def _console(*, quiet: bool) -> Console:
    return Console(width=min(Console().width, WIDTH), highlight=False, quiet=quiet)


def _choose(only: str | None, present: Sequence[Chapter]) -> Sequence[Chapter]:
    if only is None:
        return present
    chosen = [chapter for chapter in present if str(chapter.number) == only.strip()]
    if not chosen:
        names = ", ".join(f"{chapter.number} {chapter.title}" for chapter in present)
        raise InputError(f"there is no chapter {only!r}; the chapters are: {names}")
    return chosen


def _play(chosen: Sequence[Chapter], url: URL | None, console: Console) -> report.Tour:
    started = time.perf_counter()
    results: dict[Chapter, list[Result]] = {}
    with open_stage(url) as stage:
        report.show_opening(console, stage)
        for chapter in chosen:
            report.show_chapter(console, chapter)
            results[chapter] = []
            for scene in chapter.scenes:
                result = play(scene, stage)
                report.show_result(console, result)
                results[chapter].append(result)
    seconds = time.perf_counter() - started
    played = report.Tour(stage.database, results, stage.left_behind, seconds)
    report.show_summary(console, played)
    return played

"""What a transfer shows while it runs, and at its end."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Display"]

_EVERY = 3.0
"""Seconds between two plain lines."""


class Display:
    """Shows progress on stderr: a bar on a terminal, else a line now and then."""

    def __init__(self, *, as_json: bool, quiet: bool, to_stderr: bool = False) -> None:
        """Show, or be quiet.

        :param as_json: whether the summary is one JSON object.
        :param to_stderr: whether stdout has the data themselves.
        """
        self._as_json = as_json
        self._quiet = quiet
        self._to_stderr = to_stderr
        self._bar: Progress | None = None
        self._task: Any = None
        self._told = time.monotonic()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show progress until the block ends."""
        console = Console(stderr=True)
        if self._quiet or not console.is_terminal:
            yield
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as self._bar:
            self._task = self._bar.add_task("", total=None, told="")
            yield

    def show(
        self, what: str, rows: int, seconds: float, *, fraction: float | None = None, bad: int = 0
    ) -> None:
        """Show how far it has come.

        :param what: what is being done.
        :param fraction: how much of it is done, where that is known.
        :param bad: rows that have been rejected.
        """
        if self._quiet:
            return
        told = f"{rows:,} rows, {_rate(rows, seconds)}"
        if bad:
            told += f", {bad:,} rejected"
        if self._bar is not None:
            total = None if fraction is None else 1.0
            self._bar.update(
                self._task, description=what, total=total, completed=fraction or 0, told=told
            )
        elif not self._as_json and time.monotonic() - self._told >= _EVERY:
            self._told = time.monotonic()
            done = "" if fraction is None else f", {fraction:.0%}"
            typer.echo(f"{what}: {told}{done}", err=True)

    def summary(self, title: str, facts: Mapping[str, Any]) -> None:
        """Print what has been done."""
        if self._as_json:
            typer.echo(json.dumps(facts, indent=2), err=self._to_stderr)
            return
        if self._quiet:
            return
        shown = {name.replace("_", " "): _text(name, value) for name, value in facts.items()}
        console = Console(stderr=self._to_stderr, highlight=False)
        if not console.is_terminal:
            for name, value in shown.items():
                typer.echo(f"{name}: {value}", err=self._to_stderr)
            return
        table = Table(title=title, show_header=False, title_justify="left")
        table.add_column(style="bold")
        table.add_column(justify="right")
        for name, value in shown.items():
            table.add_row(name, value)
        console.print(table)


def per_second(rows: int, seconds: float) -> int:
    """Return the rows in a second."""
    return round(rows / seconds) if seconds > 0 else 0


def _rate(rows: int, seconds: float) -> str:
    return f"{per_second(rows, seconds):,} rows/s"


def _text(name: str, value: Any) -> str:
    if name == "seconds":
        return f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)

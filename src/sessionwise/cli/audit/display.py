"""How the commands of the audit show things: a table, lines, or one JSON object."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sessionwise.audit import Change

__all__ = ["Display", "as_dict", "value"]


class Display:
    """Shows the answer of a command on stdout."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(highlight=False, soft_wrap=True)

    def table(
        self,
        name: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        *,
        otherwise: str = "nothing",
    ) -> None:
        """Show rows: as a table on a terminal, else as lines with tabs between the columns.

        :param name: of the list, in JSON.
        :param otherwise: what is said where there are none.
        """
        found = [*rows]
        if self._as_json:
            keys = [column.replace(" ", "_") for column in columns]
            self.json({name: [dict(zip(keys, row, strict=True)) for row in found]})
        elif not found:
            typer.echo(otherwise)
        elif not self._console.is_terminal:
            for row in found:
                typer.echo("\t".join(map(_plain, row)))
        else:
            shown = Table(*columns)
            for row in found:
                shown.add_row(*(escape(_plain(one)) for one in row))
            Console(highlight=False).print(shown)

    def changes(self, changes: Sequence[Change]) -> None:
        """Show changes, a line for each."""
        if self._as_json:
            self.json({"changes": [as_dict(one) for one in changes]})
            return
        columns = ("id", "at", "actor", "action", "table", "object", "changed")
        rows = (
            (one.id, _moment(one), one.actor, one.action, one.table, _object(one), _changed(one))
            for one in changes
        )
        self.table("changes", columns, rows, otherwise="no changes")

    def history(self, changes: Sequence[Change]) -> None:
        """Show what has become of a row, value by value."""
        if self._as_json:
            self.json({"changes": [as_dict(one) for one in changes]})
            return
        for one in changes:
            about = [f"[bold]{one.action}[/] {escape(one.table)} {escape(str(_object(one)))}"]
            about += [_moment(one)]
            about += [escape(f"by {one.actor}")] if one.actor else []
            about += [escape(f"({one.reason})")] if one.reason else []
            self._console.print(f"#{one.id}", *about)
            for name, (before, after) in one.changed.items():
                self._console.print(f"    {escape(name)}: {escape(_step(one, before, after))}")

    def json(self, found: Any) -> None:
        """Print one JSON object."""
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))


def as_dict(change: Change) -> dict[str, Any]:
    """Return a change as JSON can say it: with the columns and values that are recorded."""
    return {
        "id": change.id,
        "at": change.at.isoformat(),
        "action": change.action,
        "table": change.table,
        "object_id": change.object_id,
        "previous_id": change.previous_id,
        "old": change.old,
        "new": change.new,
        "transaction_id": change.transaction_id,
        "actor": change.actor,
        "reason": change.reason,
        "request_id": change.request_id,
        "context": change.context,
        "schema_version": change.schema_version,
    }


def value(recorded: Any) -> str:
    """Return what is recorded of a value, in a few words."""
    if isinstance(recorded, dict) and recorded.keys() == {"sha256"}:
        return f"<redacted {recorded['sha256'][:8]}>"
    text = json.dumps(recorded, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


_LONGEST = 200


def _changed(change: Change) -> str:
    steps = change.changed.items()
    return ", ".join(f"{name}: {_step(change, *step)}" for name, step in steps)


def _step(change: Change, before: Any, after: Any) -> str:
    if change.action == "UPDATE":
        return f"{value(before)} → {value(after)}"
    return value(after if change.row is not None else before)


def _object(change: Change) -> str:
    key = change.object_id or ""
    return f"{change.previous_id} → {key}" if change.previous_id is not None else key


def _moment(change: Change) -> str:
    return change.at.strftime("%Y-%m-%d %H:%M:%SZ")


def _plain(one: Any) -> str:
    return "" if one is None else str(one)

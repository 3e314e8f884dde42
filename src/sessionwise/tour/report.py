"""Shows what the runner saw: for people, on a terminal or in a pipe, and as JSON for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich import box
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from sessionwise.tour.runner import COUNTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from sessionwise.tour.chapter import Chapter
    from sessionwise.tour.runner import Result, Seen
    from sessionwise.tour.stage import Stage

__all__ = ["Tour", "as_json", "show_chapter", "show_opening", "show_result", "show_summary"]

PLAIN, OURS = "plain SQLAlchemy", "sessionwise"


@dataclass(frozen=True)
class Tour:
    """What a tour came to."""

    database: str
    """Name and version of the database."""
    results: dict[Chapter, list[Result]]
    """What came of each chapter's scenes."""
    left_behind: list[str]
    """Tables that could not be taken away."""
    seconds: float
    """Time from beginning to end."""

    @property
    def kept(self) -> list[bool]:
        """Whether sessionwise keeps the promise, scene by scene."""
        return [result.kept for results in self.results.values() for result in results]

    @property
    def kept_by_plain(self) -> list[bool]:
        """Whether plain SQLAlchemy keeps the promise, scene by scene."""
        return [result.kept_by_plain for results in self.results.values() for result in results]

    @property
    def is_good(self) -> bool:
        """Whether sessionwise keeps every promise, and the database is as it was."""
        return all(self.kept) and not self.left_behind


def show_opening(console: Console, stage: Stage) -> None:
    """Say what is about to be compared, and on what."""
    console.print(
        f"{stage.database}, flights from New York City in January 2013. Each piece of code runs "
        "twice on fresh data: on plain SQLAlchemy and on sessionwise."
    )


def show_chapter(console: Console, chapter: Chapter) -> None:
    """Show the head of a chapter: which technique it is, and its promise."""
    console.print()
    console.rule(
        Text(f"{chapter.number} · {chapter.title}", style="bold"), align="left", style="cyan"
    )
    console.print(Text(chapter.promise, style="italic"))


def show_result(console: Console, result: Result) -> None:
    """Show a scene: its code, what both sides made of it, and who kept the promise."""
    scene = result.scene
    console.print()
    console.print(Text(scene.title, style="bold"))
    console.print(Padding(_code(result), (0, 0, 0, 2)))
    console.print(_table(console, result))
    for warning in result.ours.warnings:
        console.print(Text(warning, style="yellow"))
    if scene.note:
        console.print(Text(scene.note, style="dim"))
    style = "green" if result.kept else "bold red"
    console.print(Text(f"Promised: {scene.promised}. {verdict(result)}", style=style))


def show_summary(console: Console, tour: Tour) -> None:
    """Show how many promises each side kept, and that nothing is left."""
    console.print()
    console.rule(style="cyan")
    score = (
        f"{OURS} keeps {sum(tour.kept)} of {_count(len(tour.kept), 'promise')}, "
        f"{PLAIN} {sum(tour.kept_by_plain)}."
    )
    console.print(Text(score, style="bold green" if tour.is_good else "bold red"))
    left = ", ".join(tour.left_behind) or "nothing"
    console.print(f"{tour.seconds:.1f} s; left behind in the database: {left}.")
    console.print(Text(COUNTED, style="dim"))


def verdict(result: Result) -> str:
    """Say which side kept the promise of a scene."""
    if result.kept:
        return "Kept by both." if result.kept_by_plain else f"Kept by {OURS} only."
    return f"Kept by {PLAIN} only." if result.kept_by_plain else "Kept by neither."


def as_json(tour: Tour) -> dict[str, Any]:
    """Return the tour as one document of plain values."""
    return {
        "database": tour.database,
        "counted": COUNTED,
        "kept": tour.is_good,
        "seconds": tour.seconds,
        "left_behind": tour.left_behind,
        "chapters": [
            {
                "number": chapter.number,
                "title": chapter.title,
                "promise": chapter.promise,
                "scenes": [_scene_as_json(result) for result in results],
            }
            for chapter, results in tour.results.items()
        ],
    }


def _scene_as_json(result: Result) -> dict[str, Any]:
    return {
        "title": result.scene.title,
        "code": result.scene.source,
        "promised": result.scene.promised,
        "note": result.scene.note,
        "plain": {**asdict(result.plain), "kept": result.kept_by_plain},
        "ours": {**asdict(result.ours), "kept": result.kept},
    }


def _code(result: Result) -> Syntax | Text:
    """Return the code in colours; with the numbers of its lines where a warning names some."""
    scene = result.scene
    syntax = Syntax(
        scene.source,
        "python",
        theme="ansi_dark",
        background_color="default",
        line_numbers=bool(result.plain.warnings or result.ours.warnings),
        start_line=scene.line,
    )
    if syntax.line_numbers:
        return syntax
    text = syntax.highlight(scene.source)
    text.rstrip()
    return text


def _table(console: Console, result: Result) -> Table:
    table = Table(box=box.ROUNDED, expand=True, pad_edge=True)
    table.add_column("", style="dim", no_wrap=True, min_width=len("answered"))
    for side, kept in ((PLAIN, result.kept_by_plain), (OURS, result.kept)):
        table.add_column(_head(console, side, kept), ratio=1, overflow="fold")
    for label, plain, ours in _rows(result.plain, result.ours):
        table.add_row(label, Text(plain), Text(ours))
    return table


def _head(console: Console, side: str, kept: bool) -> Text:
    mark = ("kept" if kept else "broken") if console.options.ascii_only else "✔" if kept else "✘"
    return Text(f"{side} {mark}", style="bold green" if kept else "bold red")


def _rows(plain: Seen, ours: Seen) -> Iterator[tuple[str, str, str]]:
    """Yield label and cells, leaving out what neither side has to say."""
    for label, cell in (
        ("stored", _stored),
        ("answered", _answered),
        ("warned", _warned),
        ("sent", _sent),
        ("took", _took),
    ):
        cells = cell(plain), cell(ours)
        if any(cells):
            yield label, cells[0] or "–", cells[1] or "–"


def _stored(seen: Seen) -> str:
    return seen.stored or ""


def _answered(seen: Seen) -> str:
    return seen.error or ("" if seen.answer is None else str(seen.answer))


def _warned(seen: Seen) -> str:
    return ", ".join(line.partition(":")[0] for line in seen.warnings)


def _sent(seen: Seen) -> str:
    return f"{_count(seen.statements, 'statement')}, {_count(seen.commits, 'COMMIT')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _took(seen: Seen) -> str:
    return f"{seen.seconds * 1000:.1f} ms"

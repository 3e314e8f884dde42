"""Plays a scene on both sides and notes what each stored and answered, and what it took."""

from __future__ import annotations

import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from sessionwise.tour.chapter import Answer, Scene
    from sessionwise.tour.stage import Side, Stage

__all__ = ["COUNTED", "Result", "Seen", "play"]

COUNTED = (
    "Statements are those SQLAlchemy sends, SAVEPOINTs included; BEGIN, COMMIT and ROLLBACK are "
    "not counted, nor is what a driver's own cursor sends."
)


@dataclass(frozen=True)
class Seen:
    """What one side made of a scene."""

    answer: Answer
    """What the code returned."""
    error: str | None
    """What it raised, in one line."""
    warnings: tuple[str, ...]
    """What was warned of, each in one line that begins with the category."""
    stored: str | None
    """What was stored in the end, as another connection sees it; None where nobody looked."""
    statements: int
    """Statements sent, as ``COUNTED`` counts them."""
    commits: int
    """COMMITs sent."""
    seconds: float
    """Time the code took."""


@dataclass(frozen=True)
class Result:
    """A scene, and what both sides made of it."""

    scene: Scene
    plain: Seen
    ours: Seen

    @property
    def kept_by_plain(self) -> bool:
        """Whether plain SQLAlchemy keeps the promise."""
        return keeps(self.scene, self.plain)

    @property
    def kept(self) -> bool:
        """Whether sessionwise keeps the promise."""
        return keeps(self.scene, self.ours)


def keeps(scene: Scene, seen: Seen) -> bool:
    """Compare what was seen with what the scene promises."""
    warned = {line.partition(":")[0] for line in seen.warnings}
    return (
        seen.error is None
        and seen.answer == scene.answers
        and seen.stored == scene.stores
        and (scene.commits is None or seen.commits == scene.commits)
        and (scene.statements is None or seen.statements <= scene.statements)
        and (scene.warns is None or scene.warns.__name__ in warned)
    )


def play(scene: Scene, stage: Stage) -> Result:
    """Play a scene on both sides, each time on data that nobody has touched.

    Both rehearse it first: connecting and compiling statements is not what is compared.
    """
    for side in (stage.plain, stage.ours):
        _play(scene, stage, side)
    return Result(scene, _play(scene, stage, stage.plain), _play(scene, stage, stage.ours))


def _play(scene: Scene, stage: Stage, side: Side) -> Seen:
    stage.refresh()
    answer, error = None, None
    with _counting(side.engine) as sent, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        started = time.perf_counter()
        try:
            answer = _as_application(scene.code)(side)
        except Exception as raised:  # noqa: BLE001 -- what it raises is the answer
            error = _one_line(raised)
        seconds = time.perf_counter() - started
    stored = None
    if scene.look is not None:
        with stage.engine.connect() as connection:
            stored = scene.look(connection)
    return Seen(
        answer=answer,
        error=error,
        warnings=tuple(_warned(warning.message) for warning in caught),
        stored=stored,
        statements=sent.statements,
        commits=sent.commits,
        seconds=seconds,
    )


def _as_application(code: Callable[[Side], Answer]) -> Callable[[Side], Answer]:
    """Let the code count as a caller of sessionwise, not as a part: warnings name its lines."""
    function = cast("FunctionType", code)
    module = {**function.__globals__, "__name__": Path(function.__code__.co_filename).stem}
    return FunctionType(function.__code__, module, closure=function.__closure__)


@dataclass
class _Sent:
    statements: int = 0
    commits: int = 0


@contextmanager
def _counting(engine: Engine) -> Iterator[_Sent]:
    sent = _Sent()

    def count_statement(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if not statement.startswith("BEGIN"):
            sent.statements += 1

    def count_commit(_connection: Any) -> None:
        sent.commits += 1

    event.listen(engine, "before_cursor_execute", count_statement)
    event.listen(engine, "commit", count_commit)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", count_statement)
        event.remove(engine, "commit", count_commit)


def _one_line(error: BaseException) -> str:
    told = error.orig if isinstance(error, DBAPIError) and error.orig else error
    first, *_ = str(told).splitlines() or [""]
    return f"{type(error).__name__}: {' '.join(first.split())}"


def _warned(message: Warning | str) -> str:
    """Say what was warned of; a place in a chapter is named as short as it can be."""
    line = f"{type(message).__name__}: {message}"
    return line.replace(f"{Path(__file__).parent / 'chapters'}/", "")

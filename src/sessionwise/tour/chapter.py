"""What a chapter of the tour is: a promise, and scenes that put it to the test."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from sessionwise.tour.stage import Side

__all__ = ["Answer", "Chapter", "Scene"]

Answer = bool | int | str | None
"""What a scene may answer: small, and the same in a table and in JSON."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One piece of code that both sides run, and what it must come to."""

    code: Callable[[Side], Answer]
    """The code. Its docstring is the scene's title, its body is what the tour shows."""
    answers: Answer = None
    """What it promises to return."""
    look: Callable[[Connection], str] | None = None
    """Says what is stored, by a connection of its own; None where nothing is to be stored."""
    stores: str | None = None
    """What ``look`` is promised to find."""
    commits: int | None = None
    """How many COMMITs it promises to take; None where that is not the point."""
    statements: int | None = None
    """How many statements it promises to send at most; None where that is not the point."""
    warns: type[Warning] | None = None
    """The warning it promises to give."""
    note: str = ""
    """What a reader must know to judge the comparison."""

    @property
    def title(self) -> str:
        """What is promised here, in one line."""
        return inspect.getdoc(self.code) or self.code.__name__

    @property
    def source(self) -> str:
        """The body of the code, as it stands in its file."""
        return self._body[1]

    @property
    def line(self) -> int:
        """Where the body begins in its file."""
        return self._body[0]

    @cached_property
    def _body(self) -> tuple[int, str]:
        lines, start = inspect.getsourcelines(self.code)
        text = textwrap.dedent("".join(lines))
        function = cast("ast.FunctionDef", ast.parse(text).body[0])
        first = function.body[1 if ast.get_docstring(function) else 0].lineno - 1
        return start + first, textwrap.dedent("\n".join(text.splitlines()[first:]))

    @property
    def promised(self) -> str:
        """What the code must come to, in words."""
        parts = [
            f"answers {self.answers}" if self.answers is not None else "",
            f"stores {self.stores}" if self.stores is not None else "",
            f"in {self.commits} COMMIT" if self.commits is not None else "",
            f"sends at most {_count_of(self.statements)}" if self.statements is not None else "",
            f"gives {self.warns.__name__}" if self.warns else "",
        ]
        return ", ".join(part for part in parts if part)


def _count_of(statements: int) -> str:
    return f"{statements} statement{'' if statements == 1 else 's'}"


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One technique of the guide."""

    number: int
    """The technique's number in the guide."""
    title: str
    """Its name."""
    promise: str
    """What its users may rely on, in one sentence."""
    scenes: tuple[Scene, ...]
    """The code that puts it to the test."""

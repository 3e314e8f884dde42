"""How things are shown in a message: one line of them, and not too long."""

from __future__ import annotations

from typing import Any

__all__ = ["MANY", "beginning", "cut", "key_shown", "one_line"]

MANY = 5
"""How many of many things a message names."""

_LONGEST = 60
"""How much of a value it shows, in characters."""


def beginning(statement: str) -> str:
    """Return how a statement begins."""
    said = " ".join(statement.split())
    return cut(said) if said else "a statement of the driver"


def cut(text: str) -> str:
    """Return a text, or how it begins."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def key_shown(key: tuple[Any, ...]) -> str:
    """Return a primary key as it is given to ``get()``."""
    return repr(key[0] if len(key) == 1 else key)


def one_line(error: BaseException) -> str:
    """Return the kind of an error, and the first line of what it says."""
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first}"

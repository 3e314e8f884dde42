"""One file per chapter; a file that is here is in the tour."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sessionwise.tour.chapter import Chapter

__all__ = ["chapters"]


def chapters() -> tuple[Chapter, ...]:
    """Return the chapters there are, in the order of their numbers."""
    modules = [
        import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)
    ]
    found: list[Chapter] = [module.CHAPTER for module in modules]
    return tuple(sorted(found, key=lambda chapter: chapter.number))

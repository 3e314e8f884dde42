"""Files that cannot be loaded as it was asked for."""

from __future__ import annotations

from sessionwise.errors.base import SessionwiseError

__all__ = ["LoadError"]


class LoadError(SessionwiseError):
    """A load of files cannot begin, or go on, the way that it was asked for.

    Its message says what is stored of it; a note says so of any other error of a load.
    """

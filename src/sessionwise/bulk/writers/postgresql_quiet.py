"""psycopg logs an error that it has raised already; here it does not."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["quiet"]

_IS_QUIET: ContextVar[bool] = ContextVar("sessionwise_psycopg_is_quiet", default=False)

_LOGGER = logging.getLogger("psycopg")


def _is_news(record: logging.LogRecord) -> bool:
    return not (_IS_QUIET.get() and str(record.msg).startswith("error ignored terminating"))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep psycopg from logging that a pipeline has ended by the error that is raised anyway."""
    _LOGGER.addFilter(_is_news)  # changes nothing the second time
    token = _IS_QUIET.set(True)
    try:
        yield
    finally:
        _IS_QUIET.reset(token)

"""Waiting without holding up the event loop."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from sqlalchemy.util import await_

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

__all__ = ["pause"]


def pause(dialect: Dialect, seconds: float) -> None:
    """Wait, as the driver of a dialect waits: for asyncio in a greenlet of SQLAlchemy's."""
    if dialect.is_async:
        await_(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)

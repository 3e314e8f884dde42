"""Writers: one module for each way to get rows into a database, and one protocol.

A writer is given a plan and the rows of one chunk after the other, on a connection whose
transaction has begun. What it is given it writes, or it raises: never a part of it, never a
changed value.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from sessionwise.bulk.writers import core

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sessionwise.bulk.plan import Plan
    from sessionwise.bulk.reading.rows import Chunk

__all__ = ["Writer", "choose"]


class Writer(Protocol):
    """A way to get rows into a table."""

    name: str
    """What ``BulkResult.writer`` says."""

    def takes(self, connection: Connection, plan: Plan, chunk: Chunk | None = None) -> bool:
        """Say whether rows of the plan can be written this way on the connection.

        :param chunk: the first of them, where there is one already.
        """
        ...

    def write(self, connection: Connection, plan: Plan, chunk: Chunk) -> None:
        """Write the rows of a chunk.

        :raises DBAPIError: as SQLAlchemy would, for what the database refuses.
        """
        ...

    def write_returning(self, connection: Connection, plan: Plan, chunk: Chunk) -> list[Any]:
        """Write the rows of a chunk, and return their primary keys, as tuples, in their order."""
        ...


_MODULES = {"mariadb": "mysql", "mysql": "mysql", "postgresql": "postgresql", "sqlite": "sqlite"}
"""Dialects, and the modules that have writers for them, the fastest first."""


def choose(connection: Connection, plan: Plan, chunk: Chunk | None = None) -> Writer:
    """Return the fastest writer that takes rows of the plan.

    :param chunk: the first of them.
    """
    module = _MODULES.get(connection.dialect.name)
    if plan.only_core is None and module is not None:
        own: list[Writer] = import_module(f"{__name__}.{module}").WRITERS
        for writer in own:
            if writer.takes(connection, plan, chunk):
                return writer
    return core.WRITER

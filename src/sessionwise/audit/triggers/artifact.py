"""What the audit makes in a database: tables, functions and triggers, each known by a digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from sessionwise.audit.coverage import Coverage, Covered

__all__ = ["DISABLED", "MARK", "Artifact", "Bodies", "Key", "Kind", "digest"]

Kind = Literal["table", "view", "function", "trigger"]

Key = tuple[Kind, str, str | None]
"""What artifact: its kind, its name, and for a trigger its table, as the audit calls it."""

MARK = "sessionwise:"
"""What stands before a digest, in a comment of the artifact or of its body."""

DISABLED = "disabled"
"""What stands in place of the digest of a trigger that is there and does not fire."""


@dataclass(frozen=True)
class Artifact:
    """One thing that is made in the database."""

    kind: Kind
    name: str
    """Its name, without a schema."""
    table: str | None
    """The table that it is for, as the audit calls it; None where it serves all."""
    body: str
    """What makes it, without its digest."""
    create: Sequence[str]
    """The statements that make it, and note its digest; they replace what is there."""
    drop: Sequence[str]
    """The statements that remove it, if it is there."""

    @cached_property
    def digest(self) -> str:
        """What the body is, as 16 hexadecimal digits."""
        return digest(self.body)

    @property
    def key(self) -> Key:
        """By which the artifact and what the database has are compared."""
        return self.kind, self.name, self.table if self.kind == "trigger" else None


def digest(body: str) -> str:
    """Return the digest of what makes an artifact."""
    return hashlib.sha256(body.encode()).hexdigest()[:16]


class Bodies(Protocol):
    """What one database needs so that its triggers record."""

    def shared(self, coverage: Coverage) -> Sequence[Artifact]:
        """Return what serves all tables, in the order in which it is made."""
        ...

    def of(self, covered: Covered, coverage: Coverage) -> Sequence[Artifact]:
        """Return what records one table.

        :raises UnsupportedError: for what triggers of this database cannot record.
        """
        ...

    def present(self, connection: Connection, coverage: Coverage) -> Mapping[Key, str | None]:
        """Return what of ours the database has, by one query, with digests.

        It is of ours by its name, whether its table is covered or not. Not a digest is None, of
        what says none, and ``DISABLED``. Tables of ``audit.tables`` are not among it.
        """
        ...

    def removal(self, key: Key) -> Sequence[str]:
        """Return the statements that remove what ``present`` has found, also what is left over."""
        ...

    def before_backfill(self, covered: Covered) -> Sequence[str]:
        """Return what keeps others from writing to a table until the transaction ends.

        None, where the INSERT of ``backfill`` sees to it that it reads what is committed.
        """
        ...

    def backfill(self, covered: Covered) -> str:
        """Return the INSERT that records the rows a table has, those without a record yet.

        It calls the table ``r`` and ends with its WHERE, to which the range of keys is added. Its
        parameter ``:transaction_id`` is the id of the transaction's row; it records them as
        inserted (a link: as LINK).
        """
        ...

    def after_backfill(self, covered: Covered) -> Sequence[str]:
        """Return what takes back what ``before_backfill`` has set."""
        ...

    def cautions(self, coverage: Coverage) -> Iterable[str]:
        """Say, a line each, what triggers of this database do not see."""
        ...

"""What the session cannot record: it is refused, or a warning is given; never silence."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from sessionwise.errors import UnauditedWriteError, UnauditedWriteWarning
from sessionwise.sql import cascades

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection

    from sessionwise.audit.audit import Audit
    from sessionwise.audit.triggers.installed import Captures
    from sessionwise.sql.touched import Touched

__all__ = ["of_touched", "refuse"]

_SHOWN = 5
"""How many tables a message names."""

_UNSEEN = "nobody can tell which rows it writes"
_TRUNCATES = re.compile(r"\s*TRUNCATE\b", re.IGNORECASE)


def refuse(audit: Audit, statement: str, tables: Iterable[str], why: str) -> None:
    """Refuse a statement that writes tables, or warn of it.

    :raises UnauditedWriteError: unless the audit is to let it pass.
    """
    names = sorted(tables)
    shown = ", ".join(names[:_SHOWN])
    if len(names) > _SHOWN:
        shown += f" or {len(names) - _SHOWN} others"
    if audit.on_unaudited == "raise":
        raise UnauditedWriteError.of(statement, shown, why)
    warnings.warn(UnauditedWriteWarning.of(statement, shown, why), stacklevel=2)


def of_touched(
    audit: Audit, connection: Connection, captures: Captures, statement: str, written: Touched
) -> None:
    """Refuse a statement of which only is known which tables it may write."""
    affected = set(_affected(audit, captures, written))
    if _TRUNCATES.match(statement) and connection.dialect.name != "postgresql":
        # Triggers see none of it there.
        affected |= {
            one.name
            for one in audit.coverage
            if one.name in captures.triggers and one.table.name.lower() in written.deletes
        }
    if affected:
        refuse(audit, statement, affected, _UNSEEN)


def _affected(audit: Audit, captures: Captures, written: Touched) -> Iterator[str]:
    if not captures.session:
        return
    names = written.inserts | written.updates | written.deletes
    spread = cascades.follow(audit.coverage.metadata, written.updates, written.deletes)
    for one in audit.coverage:
        if one.name in captures.session and (
            written.is_opaque or one.table.name.lower() in names | spread
        ):
            yield one.name

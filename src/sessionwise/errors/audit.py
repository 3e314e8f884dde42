"""Changes that are not recorded."""

from __future__ import annotations

from typing import Any

from sessionwise.errors.base import SessionwiseError, SessionwiseWarning
from sessionwise.errors.shown import beginning, key_shown

__all__ = ["AuditError", "UnauditedWriteError", "UnauditedWriteWarning"]


class AuditError(SessionwiseError):
    """A change cannot be recorded; it is not made, or is undone with its savepoint or unit."""

    @classmethod
    def without_tables(cls, database: str | None) -> AuditError:
        """Build the error for a database that has no tables for the audit."""
        where = "the database" if database is None else f"the database {database!r}"
        return cls(
            f"{where} has no table audit_log, and so nothing can be recorded: make the audit's "
            "tables by audit.install(engine), or by a migration"
        )

    @classmethod
    def for_lost_row(cls, table: str, key: tuple[Any, ...]) -> AuditError:
        """Build the error for a row that was inserted and is not there."""
        return cls(
            f"a row of {table} was inserted with the primary key {key_shown(key)}, and there is "
            "none: the database has made it another one, or a trigger has left it out. Let the "
            "database make the key, or have triggers record the table (audit.install)"
        )

    @classmethod
    def for_rows_of_others(cls, table: str, rows: int) -> AuditError:
        """Build the error for rows that were not there when the others were read."""
        return cls(
            f"a statement has written {rows} more of the rows of {table} than there were a moment "
            "before: others have added them meanwhile, and nobody has read how they were. Run the "
            "unit again, or have triggers record the table (audit.install)"
        )

    @classmethod
    def in_savepoint(cls) -> AuditError:
        """Build the error for a savepoint that a listener has opened in a flush."""
        return cls(
            "a listener writes what is audited in a savepoint that it has opened in the middle of "
            "a flush: what the flush has written before could not be told from that. Write "
            "without a savepoint, or have triggers record it (audit.install)"
        )

    @classmethod
    def without_transaction(cls, actor: str | None) -> AuditError:
        """Build the error for an actor whose changes are committed one by one."""
        return cls(
            f"the connection is in AUTOCOMMIT, and so the database cannot be told that {actor!r} "
            "is at work: use a transaction, or leave the block of actor()"
        )


class UnauditedWriteError(AuditError):
    """A statement writes what is audited in a way that the session cannot record."""

    @classmethod
    def of(cls, statement: str, tables: str, why: str) -> UnauditedWriteError:
        """Build the error from the statement, the tables it may write, and what is unknown."""
        return cls(_unaudited(statement, tables, why))


class UnauditedWriteWarning(SessionwiseWarning):
    """A statement has written what is audited, and is not recorded."""

    @classmethod
    def of(cls, statement: str, tables: str, why: str) -> UnauditedWriteWarning:
        """Build the warning as the error for the same is."""
        return cls(_unaudited(statement, tables, why))


def _unaudited(statement: str, tables: str, why: str) -> str:
    begins = beginning(statement)
    return (
        f"{begins} writes {tables}, which the session records, and {why}. Have triggers record it "
        "(audit.install), write it by the ORM or by insert(), update() and delete() of the table, "
        'or let it pass unrecorded with Audit(on_unaudited="warn")'
    )

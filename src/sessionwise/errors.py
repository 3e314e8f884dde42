"""Every error and warning of sessionwise, in one tree.

::

    SessionwiseError
    ├── OptionError                 also ArgumentError and TypeError
    ├── AuditError
    │   └── UnauditedWriteError
    ├── BulkInputError              also ArgumentError
    │   └── TooManyRejectsError
    ├── TransactionDoomedError      also PendingRollbackError
    ├── CommitUnknownError          also DBAPIError
    ├── CommitHookError             also ExceptionGroup
    ├── ConcurrentUseError          also IllegalStateChangeError
    ├── DeadlineExceededError       also TimeoutError
    ├── TransactionJoinError        also InvalidRequestError
    ├── LateIsolationError          also InvalidRequestError
    ├── LoadError
    ├── LockTimeoutError            also TimeoutError
    ├── MissingRowsError            also NoResultFound
    ├── NotLoadedError              also DetachedInstanceError
    ├── MergeConflictError          also StaleDataError
    └── UnsupportedError            also NotImplementedError

    SessionwiseWarning              a UserWarning
    ├── OuterRollbackWarning
    ├── LeakedSessionWarning
    ├── StaleSnapshotWarning
    └── UnauditedWriteWarning

Each error also inherits what plain SQLAlchemy raises in its place, so an ``except`` clause written
for SQLAlchemy keeps working. Each is built from facts, names the offending thing, and says what to
do next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IllegalStateChangeError,
    InvalidRequestError,
    NoResultFound,
    PendingRollbackError,
)
from sqlalchemy.orm.exc import DetachedInstanceError, StaleDataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "AuditError",
    "BulkInputError",
    "CommitHookError",
    "CommitUnknownError",
    "ConcurrentUseError",
    "DeadlineExceededError",
    "LateIsolationError",
    "LeakedSessionWarning",
    "LoadError",
    "LockTimeoutError",
    "MergeConflict",
    "MergeConflictError",
    "MissingRowsError",
    "NotLoadedError",
    "OptionError",
    "OuterRollbackWarning",
    "SessionwiseError",
    "SessionwiseWarning",
    "StaleSnapshotWarning",
    "TooManyRejectsError",
    "TransactionDoomedError",
    "TransactionJoinError",
    "UnauditedWriteError",
    "UnauditedWriteWarning",
    "UnsupportedError",
]


_SHOWN = 5
"""How many of many things a message names."""
_LONGEST = 60
"""How much of a value it shows, in characters."""


class SessionwiseError(Exception):
    """The base of every error that sessionwise raises itself."""


class OptionError(SessionwiseError, ArgumentError, TypeError):
    """An option of ours has a value it does not take, or reached a class that is not ours."""

    @classmethod
    def for_value(cls, option: str, value: object, allowed: Iterable[object]) -> OptionError:
        """Build the error for a value that the option does not take."""
        choices = " or ".join(repr(choice) for choice in allowed)
        return cls(f"{option}={value!r} is not a choice; use {choices}")

    @classmethod
    def for_class(cls, class_: type, options: Iterable[str]) -> OptionError:
        """Build the error for options of ours given to a session class that is not ours."""
        names = ", ".join(sorted(options))
        name = f"{class_.__module__}.{class_.__qualname__}"
        return cls(
            f"{name} does not take {names}: that is an option of sessionwise. Let the class "
            f"inherit from sessionwise.Session (sessionwise.asyncio.AsyncSession for asyncio), "
            f"or leave {names} out"
        )


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
            f"a row of {table} was inserted with the primary key {_show_key(key)}, and there is "
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


class BulkInputError(SessionwiseError, ArgumentError):
    """Rows, or what they are to be written into, are not what a bulk verb takes.

    Nothing of the call has been stored.
    """

    position: int | None = None
    """The one row that is at fault, from 0, where it is one."""
    problem: str | None = None
    """What is wrong with it."""

    @classmethod
    def for_entity(cls, entity: object) -> BulkInputError:
        """Build the error for something that is neither a mapped class nor a table."""
        return cls(f"{entity!r} is neither a mapped class nor a Table; give one of these")

    @classmethod
    def for_name(cls, name: str, table: str, known: Iterable[str]) -> BulkInputError:
        """Build the error for a value that no column is for."""
        return cls(
            f"the rows have values for {name!r}, and {table} has no such column; it has "
            f"{', '.join(known)}. Rename it, or leave it out"
        )

    @classmethod
    def for_row(cls, position: int, problem: str) -> BulkInputError:
        """Build the error for one row.

        :param position: of the row in the input, from 0.
        """
        error = cls(f"row {position:,}: {problem}")
        error.position, error.problem = position, problem
        return error


class TooManyRejectsError(BulkInputError):
    """More rows were rejected than ``max_errors`` allows; nothing of the call has been stored."""

    rejected: list[Any]
    """The rows that had been rejected by then, as ``Rejected``, in their order."""
    max_errors: int

    @classmethod
    def past(cls, max_errors: int, rejected: Sequence[Any]) -> TooManyRejectsError:
        """Build the error from the limit and the rows that were rejected."""
        shown = "; ".join(map(_reject, rejected[:_SHOWN]))
        more = " …" if len(rejected) > _SHOWN else ""
        count = f"{len(rejected):,} row" + ("s were" if len(rejected) > 1 else " was")
        error = cls(
            f"{count} rejected, and max_errors={max_errors} allows no more than {max_errors:,}; "
            f"nothing of the call is stored. {shown}{more}. Correct the rows, or allow for more "
            "of them"
        )
        error.rejected, error.max_errors = list(rejected), max_errors
        return error


class TransactionDoomedError(SessionwiseError, PendingRollbackError):
    """The server has given the transaction up: nothing in it can be stored any more.

    Raised for the next statement and for ``commit()`` until ``rollback()``, chained to the error
    that doomed it.
    """

    @classmethod
    def because_of(cls, first: BaseException | None) -> TransactionDoomedError:
        """Build the error from the first one, where it is known."""
        reason = "" if first is None else f" ({_one_line(first)})"
        return cls(
            f"the database has given this transaction up after an error{reason}: nothing in it "
            "can be stored. Call rollback() on the session, or leave the savepoint block in which "
            "the error happened, and start again"
        )


class CommitUnknownError(SessionwiseError, DBAPIError):
    """The connection was lost during COMMIT, and nobody can say whether the data is stored.

    ``orig`` is the driver's error, ``connection_invalidated`` is True.
    """

    @classmethod
    def from_error(cls, error: DBAPIError, why: str) -> CommitUnknownError:
        """Build the error from the one that COMMIT raised, and why it could not be resolved."""
        orig: Any = error.orig
        unknown = cls(None, None, orig, connection_invalidated=True)
        unknown.why = why
        return unknown

    why = ""
    """Why the outcome could not be found out."""

    def __str__(self) -> str:
        lost = "" if self.orig is None else f" ({_one_line(self.orig)})"
        return (
            f"the connection was lost during COMMIT{lost}, and whether the data is stored is "
            f"unknown: {self.why}. Look in the database before you do it again"
        )


class CommitHookError(SessionwiseError, ExceptionGroup[Exception]):
    """Functions registered by ``on_commit`` or ``on_rollback`` have failed; the outcome stands."""

    @classmethod
    def after(cls, outcome: str, errors: list[Exception]) -> CommitHookError:
        """Build the error from the unit's outcome and what the functions raised."""
        return cls(
            f"the unit of work has ended ({outcome}), and functions registered for that failed; "
            "do not run the unit again for it",
            errors,
        )


class ConcurrentUseError(SessionwiseError, IllegalStateChangeError):
    """Two threads, or two tasks, use one session at the same time."""

    @classmethod
    def between(cls, running: str, second: str) -> ConcurrentUseError:
        """Build the error from the places of the call that runs and of the one that came in."""
        return cls(
            f"this session is used at {second} while the call at {running} is still running. A "
            "session serves one thread or task at a time: give each its own"
        )


class DeadlineExceededError(SessionwiseError, TimeoutError):
    """The unit of work has taken longer than its ``timeout``."""

    @classmethod
    def after(cls, seconds: float) -> DeadlineExceededError:
        """Build the error from the time that was allowed."""
        return cls(
            f"the unit of work has used up its timeout of {seconds:g} s: it is rolled back. "
            "Give it more, or do less in it"
        )


class TransactionJoinError(SessionwiseError, InvalidRequestError):
    """A unit that joins another one asks for what the other one is not."""

    @classmethod
    def over(cls, option: str, asked: object, is_: object) -> TransactionJoinError:
        """Build the error from the option, what was asked for, and what the running unit has."""
        return cls(
            f"{option}={asked!r} cannot be had here: this unit joins one that runs with "
            f"{option}={is_!r}. Ask for it where the outer one begins, or use nested='new'"
        )


class LateIsolationError(SessionwiseError, InvalidRequestError):
    """The isolation level is asked for when the transaction has begun."""

    @classmethod
    def for_level(cls, level: str) -> LateIsolationError:
        """Build the error from the level that was asked for."""
        return cls(
            f"isolation_level={level!r} comes too late: the transaction has begun. Ask for it by "
            "the first session.connection() of the unit, or on the engine"
        )


class LoadError(SessionwiseError):
    """A load of files cannot begin, or go on, the way that it was asked for.

    Its message says what is stored of it; a note says so of any other error of a load.
    """


class LockTimeoutError(SessionwiseError, TimeoutError):
    """An advisory lock was not to be had in time."""

    @classmethod
    def after(cls, key: object, seconds: float) -> LockTimeoutError:
        """Build the error from the lock's key and the time that was waited."""
        return cls(f"somebody else held the lock {key!r} for {seconds:g} s: try again later")


class MissingRowsError(SessionwiseError, NoResultFound):
    """Objects were asked for that have no row."""

    @classmethod
    def of(cls, entity: type[Any], absent: Sequence[tuple[Any, ...]]) -> MissingRowsError:
        """Build the error from the class and the primary keys that have no row."""
        absent = list(dict.fromkeys(absent))
        shown = ", ".join(map(_show_key, absent[:_SHOWN]))
        if len(absent) > _SHOWN:
            shown += f" and {len(absent) - _SHOWN} more"
        rows = "row" if len(absent) == 1 else "rows"
        error = cls(f"{entity.__name__} has no {rows} with the primary key {shown}")
        error.keys = list(absent)
        return error

    keys: Sequence[tuple[Any, ...]] = ()
    """The primary keys that have no row, each a tuple."""


class NotLoadedError(SessionwiseError, DetachedInstanceError):
    """What was not loaded before ``detach()`` has been read afterwards."""

    @classmethod
    def of(cls, class_name: str, attribute: str, path: str) -> NotLoadedError:
        """Build the error from the attribute, and the path that loads it."""
        return cls(
            f"{class_name}.{attribute} was not loaded when its object was detached. Name it "
            f"there: session.detach(..., {path!r})"
        )


@dataclass(frozen=True)
class MergeConflict:
    """An attribute that both sides of a merge have changed."""

    instance: object
    """The object that was to be merged."""
    attribute: str
    """The name of the attribute."""
    base: Any
    """Its value when the object was loaded; ``UNKNOWN`` where nobody can say."""
    mine: Any
    """Its value in the object."""
    theirs: Any
    """Its value in the database now."""


class _Unknown:
    def __repr__(self) -> str:
        return "unknown"


UNKNOWN = _Unknown()
"""Stands for a base value that nobody knows."""


class MergeConflictError(SessionwiseError, StaleDataError):
    """Objects to be merged, and the rows they are merged into, were both changed."""

    @classmethod
    def of(cls, conflicts: Sequence[MergeConflict]) -> MergeConflictError:
        """Build the error from the conflicts, one or more."""
        shown = "; ".join(map(_show_conflict, conflicts[:_SHOWN]))
        if len(conflicts) > _SHOWN:
            shown += f"; and {len(conflicts) - _SHOWN} more"
        error = cls(
            f"changed here and in the database: {shown}. Nothing has been merged. Decide with "
            "conflicts='mine' or conflicts='theirs', or show both values to the user"
        )
        error.conflicts = list(conflicts)
        return error

    conflicts: Sequence[MergeConflict] = ()
    """Every attribute in conflict."""


class UnsupportedError(SessionwiseError, NotImplementedError):
    """The database has no such thing."""

    @classmethod
    def on(cls, database: str, feature: str) -> UnsupportedError:
        """Build the error from the database's name and what it has not."""
        return cls(f"{database} has no {feature} that protect anything; use another database")


class SessionwiseWarning(UserWarning):
    """The base of every warning that sessionwise emits."""


class StaleSnapshotWarning(SessionwiseWarning):
    """A refresh has read an old state: the transaction sees the database as it once was."""

    @classmethod
    def at(cls, isolation: str, remedy: str) -> StaleSnapshotWarning:
        """Build the warning from the kind of transaction, and what sees the newest row instead."""
        return cls(
            f"refreshed in a {isolation} transaction: it reads the database as it was when the "
            "transaction first read, not the newest row. Refresh in a new transaction, or "
            f"{remedy}"
        )


class OuterRollbackWarning(SessionwiseWarning):
    """A ``rollback()`` after a failed savepoint block discarded work from outside the block.

    The exception that left the block had undone the block already. ``Session.rollback()`` outside
    of a block ends the whole unit of work, as it does in SQLAlchemy.
    """

    @classmethod
    def at(cls, block: str, rollback: str) -> OuterRollbackWarning:
        """Build the warning from two places, the block's and the call's, each ``file:line``."""
        return cls(
            f"rollback() at {rollback} discarded work from outside the savepoint block at "
            f"{block}: the exception that left the block had undone the block already. Leave the "
            "call out, or use Session(failed_block='contained')"
        )


class LeakedSessionWarning(SessionwiseWarning):
    """A session was let go of while it held a connection."""

    @classmethod
    def at(cls, where: str, owner: str) -> LeakedSessionWarning:
        """Build the warning from where the unit began (``file:line``) and what let go of it."""
        return cls(
            f"{owner} let go of a session that still held a connection; its unit of work began at "
            f"{where} and is rolled back. Close it: with Session(...) as session"
        )


class UnauditedWriteWarning(SessionwiseWarning):
    """A statement has written what is audited, and is not recorded."""

    @classmethod
    def of(cls, statement: str, tables: str, why: str) -> UnauditedWriteWarning:
        """Build the warning as the error for the same is."""
        return cls(_unaudited(statement, tables, why))


def _unaudited(statement: str, tables: str, why: str) -> str:
    begins = _begins(statement)
    return (
        f"{begins} writes {tables}, which the session records, and {why}. Have triggers record it "
        "(audit.install), write it by the ORM or by insert(), update() and delete() of the table, "
        'or let it pass unrecorded with Audit(on_unaudited="warn")'
    )


def _begins(statement: str) -> str:
    said = " ".join(statement.split())
    if not said:
        return "a statement of the driver"
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"


def _one_line(error: BaseException) -> str:
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first}"


def _show_key(key: tuple[Any, ...]) -> str:
    return repr(key[0] if len(key) == 1 else key)


def _show_conflict(conflict: MergeConflict) -> str:
    shown = (f"{name} {_short(getattr(conflict, name))}" for name in ("base", "mine", "theirs"))
    return f"{type(conflict.instance).__name__}.{conflict.attribute} ({', '.join(shown)})"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _reject(one: Any) -> str:
    line = "" if one.line is None else f" (line {one.line:,})"
    return f"Row {one.position:,}{line}, {one.kind}: {one.message}"

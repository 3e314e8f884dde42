"""The session layer for SQLAlchemy 2.1: no silent loss, no staleness, no needless statement."""

from sessionwise.database import Database, Health
from sessionwise.errors import (
    BulkInputError,
    CommitHookError,
    CommitUnknownError,
    ConcurrentUseError,
    DeadlineExceededError,
    LateIsolationError,
    LeakedSessionWarning,
    LockTimeoutError,
    MergeConflict,
    MergeConflictError,
    MissingRowsError,
    NotLoadedError,
    OptionError,
    OuterRollbackWarning,
    SessionwiseError,
    SessionwiseWarning,
    StaleSnapshotWarning,
    TransactionDoomedError,
    TransactionJoinError,
    UnsupportedError,
)
from sessionwise.scope import scoped_session
from sessionwise.session import Session, sessionmaker
from sessionwise.transaction.outcome import Outcome
from sessionwise.transaction.retry import Retry

__all__ = [
    "BulkInputError",
    "CommitHookError",
    "CommitUnknownError",
    "ConcurrentUseError",
    "Database",
    "DeadlineExceededError",
    "Health",
    "LateIsolationError",
    "LeakedSessionWarning",
    "LockTimeoutError",
    "MergeConflict",
    "MergeConflictError",
    "MissingRowsError",
    "NotLoadedError",
    "OptionError",
    "Outcome",
    "OuterRollbackWarning",
    "Retry",
    "Session",
    "SessionwiseError",
    "SessionwiseWarning",
    "StaleSnapshotWarning",
    "TransactionDoomedError",
    "TransactionJoinError",
    "UnsupportedError",
    "scoped_session",
    "sessionmaker",
]

"""The session layer for SQLAlchemy 2.1: no silent loss, no staleness, no needless statement."""

from sessionwise.database import Database, Health
from sessionwise.errors import (
    CommitHookError,
    CommitUnknownError,
    DeadlineExceededError,
    OptionError,
    OuterRollbackWarning,
    SessionwiseError,
    SessionwiseWarning,
    TransactionDoomedError,
    TransactionJoinError,
)
from sessionwise.scope import scoped_session
from sessionwise.session import Session, sessionmaker
from sessionwise.transaction.outcome import Outcome
from sessionwise.transaction.retry import Retry

__all__ = [
    "CommitHookError",
    "CommitUnknownError",
    "Database",
    "DeadlineExceededError",
    "Health",
    "OptionError",
    "Outcome",
    "OuterRollbackWarning",
    "Retry",
    "Session",
    "SessionwiseError",
    "SessionwiseWarning",
    "TransactionDoomedError",
    "TransactionJoinError",
    "scoped_session",
    "sessionmaker",
]

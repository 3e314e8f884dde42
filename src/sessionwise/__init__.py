"""The session layer for SQLAlchemy 2.1: no silent loss, no staleness, no needless statement."""

from sessionwise.errors import (
    CommitHookError,
    CommitUnknownError,
    OptionError,
    OuterRollbackWarning,
    SessionwiseError,
    SessionwiseWarning,
    TransactionDoomedError,
)
from sessionwise.scope import scoped_session
from sessionwise.session import Session, sessionmaker
from sessionwise.transaction.outcome import Outcome

__all__ = [
    "CommitHookError",
    "CommitUnknownError",
    "OptionError",
    "Outcome",
    "OuterRollbackWarning",
    "Session",
    "SessionwiseError",
    "SessionwiseWarning",
    "TransactionDoomedError",
    "scoped_session",
    "sessionmaker",
]

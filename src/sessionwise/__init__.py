"""The session layer for SQLAlchemy 2.1: no silent loss, no staleness, no needless statement."""

from sessionwise.errors import (
    OptionError,
    OuterRollbackWarning,
    SessionwiseError,
    SessionwiseWarning,
)
from sessionwise.scope import scoped_session
from sessionwise.session import Session, sessionmaker

__all__ = [
    "OptionError",
    "OuterRollbackWarning",
    "Session",
    "SessionwiseError",
    "SessionwiseWarning",
    "scoped_session",
    "sessionmaker",
]

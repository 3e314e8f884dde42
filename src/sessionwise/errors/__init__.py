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

from sessionwise.errors.audit import AuditError, UnauditedWriteError, UnauditedWriteWarning
from sessionwise.errors.base import (
    OptionError,
    SessionwiseError,
    SessionwiseWarning,
    UnsupportedError,
)
from sessionwise.errors.bulk import BulkInputError, TooManyRejectsError
from sessionwise.errors.objects import UNKNOWN as UNKNOWN  # not a public name
from sessionwise.errors.objects import (
    MergeConflict,
    MergeConflictError,
    MissingRowsError,
    NotLoadedError,
    StaleSnapshotWarning,
)
from sessionwise.errors.sessions import ConcurrentUseError, LeakedSessionWarning
from sessionwise.errors.transactions import (
    CommitHookError,
    CommitUnknownError,
    DeadlineExceededError,
    LateIsolationError,
    LockTimeoutError,
    OuterRollbackWarning,
    TransactionDoomedError,
    TransactionJoinError,
)
from sessionwise.errors.transfer import LoadError

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

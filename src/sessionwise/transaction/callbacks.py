"""Functions to be called once, when it is known how a unit of work has ended."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy.util import await_

from sessionwise.errors import CommitHookError

if TYPE_CHECKING:
    from sqlalchemy.orm import SessionTransaction

    from sessionwise.transaction.outcome import Outcome

__all__ = ["Callbacks", "Hook", "discard", "of", "pass_on", "run"]

Hook = Callable[[], object]
"""What is called: without arguments; what it returns is awaited where it can be."""

_ATTRIBUTE = "_sessionwise_callbacks"
_logger = logging.getLogger("sessionwise")


@dataclass(slots=True)
class Callbacks:
    """What was registered in one transaction or savepoint, in order."""

    on_commit: list[tuple[Hook, bool]] = field(default_factory=list)
    """Each with whether its errors are only logged."""
    on_rollback: list[tuple[Hook, bool]] = field(default_factory=list)


def of(transaction: SessionTransaction) -> Callbacks:
    """Return the callbacks of a transaction or savepoint, to register with."""
    found: Callbacks = transaction.__dict__.setdefault(_ATTRIBUTE, Callbacks())
    return found


def pass_on(ended: SessionTransaction, around: SessionTransaction) -> None:
    """Hand what was registered in a savepoint to the transaction around it."""
    registered = take(ended)
    if registered is None:
        return
    while around.parent is not None and not around.nested:
        around = around.parent  # a flush has a transaction of its own, for its time
    of(around).on_commit += registered.on_commit
    of(around).on_rollback += registered.on_rollback


def discard(ended: SessionTransaction) -> None:
    """Forget what was registered in a savepoint that is rolled back."""
    take(ended)


def take(transaction: SessionTransaction) -> Callbacks | None:
    """Return what was registered in a transaction, once."""
    registered: Callbacks | None = transaction.__dict__.pop(_ATTRIBUTE, None)
    return registered


def run(registered: Callbacks | None, outcome: Outcome, *, committed: bool) -> None:
    """Call what was registered for a commit or for a rollback: all of it, whatever fails.

    :raises CommitHookError: with the errors of those that were not registered as robust.
    """
    if registered is None:
        return
    errors: list[Exception] = []
    for hook, robust in registered.on_commit if committed else registered.on_rollback:
        try:
            result = hook()
            if inspect.isawaitable(result):
                _finish(result)
        except Exception as error:
            if robust:
                _logger.exception("a hook failed after the unit of work had ended")
            else:
                errors.append(error)
    if errors:
        raise CommitHookError.after(outcome.name, errors)


def _finish(awaitable: Awaitable[object]) -> None:
    """Await what an async hook returned: the session runs in a greenlet of SQLAlchemy's."""
    await_(awaitable)

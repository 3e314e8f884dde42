"""Who is at work, and why: it belongs to the task or thread, and goes with what that changes."""

from __future__ import annotations

import json
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sessionwise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["NOBODY", "Actor", "actor", "current"]


@dataclass(frozen=True)
class Actor:
    """Who is at work, and what is to be stored with it."""

    name: str | None = None
    """Who; ``audit_transaction.actor``."""
    reason: str | None = None
    """Why."""
    request_id: str | None = None
    """By which request."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """What else there is to say; it must be representable as JSON."""

    @property
    def as_json(self) -> str:
        """What a trigger is told: one JSON object, without what is not known."""
        known = {
            "actor": self.name,
            "reason": self.reason,
            "request_id": self.request_id,
            "context": dict(self.context) or None,
        }
        return json.dumps({name: value for name, value in known.items() if value is not None})


NOBODY = Actor()

_CURRENT: ContextVar[Actor] = ContextVar("sessionwise_actor", default=NOBODY)


@contextmanager
def actor(
    name: str | None = None,
    *,
    reason: str | None = None,
    request_id: str | None = None,
    **context: Any,
) -> Iterator[Actor]:
    """Say for a block who is at work; what is not given stays what it is around the block.

    It holds for this task or thread, and for tasks that are begun in the block. A change in the
    middle of a transaction is told apart: it has a transaction's row for each.

    :param name: who changes things.
    :param reason: why.
    :param request_id: by which request.
    :param context: what else is to be stored with it, as JSON.
    :raises OptionError: for what JSON cannot say.
    """
    around = _CURRENT.get()
    now = Actor(
        name if name is not None else around.name,
        reason if reason is not None else around.reason,
        request_id if request_id is not None else around.request_id,
        {**around.context, **context},
    )
    _check(now)
    token = _CURRENT.set(now)
    try:
        yield now
    finally:
        _CURRENT.reset(token)


def current() -> Actor:
    """Return who is at work."""
    return _CURRENT.get()


def _check(now: Actor) -> None:
    for option, value in (("actor", now.name), ("reason", now.reason), ("id", now.request_id)):
        if value is not None and not isinstance(value, str):
            raise OptionError(f"{option} {value!r} is no text; give a string, as str() makes it")
    try:
        now.as_json  # noqa: B018 - to see whether it can be made
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"the actor's context cannot be stored as JSON: {error}. Give texts, numbers, lists "
            "and dicts"
        ) from error

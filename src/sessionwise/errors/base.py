"""What all errors and warnings of sessionwise are, and what any part of it may raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["OptionError", "SessionwiseError", "SessionwiseWarning", "UnsupportedError"]


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


class UnsupportedError(SessionwiseError, NotImplementedError):
    """The database has no such thing."""

    @classmethod
    def on(cls, database: str, feature: str) -> UnsupportedError:
        """Build the error from the database's name and what it has not."""
        return cls(f"{database} has no {feature} that protect anything; use another database")


class SessionwiseWarning(UserWarning):
    """The base of every warning that sessionwise emits."""

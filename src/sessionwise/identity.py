"""Technique 10: the identity map, with the keys and the print that people expect of it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import inspect
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm.identity import _WeakInstanceDict

if TYPE_CHECKING:
    from sqlalchemy.orm import InstanceState, Session

__all__ = ["IdentityMap", "install"]

_SHOWN = 100
"""Entries that ``repr`` spells out; a debugger shows the map at each step, whatever its size."""

_SHORT_KEY = 2
"""Parts of the key ``(User, (1,))``; SQLAlchemy's own has a third, the identity token."""


class IdentityMap(_WeakInstanceDict):
    """SQLAlchemy's identity map that also takes the short key ``(User, (1,))``.

    ``in``, ``[]`` and ``get`` take the short key as well as SQLAlchemy's three-part key; iteration
    gives SQLAlchemy's. The short key means the identity without a token (see
    ``identity_token``), and an object of that class or of one below it.
    """

    # Loading and flushing ask the map once per row or object, by its own key: that must cost one
    # look-up, so the three ways to ask stand here spelled out.

    def __contains__(self, key: Any) -> bool:
        state = self._dict.get(key)
        if state is None:
            short = isinstance(key, tuple) and len(key) == _SHORT_KEY
            return short and self._get_short(key, None) is not None
        return state.obj() is not None

    def __getitem__(self, key: Any) -> Any:
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the object of the key, or ``default`` where the map has none."""
        state = self._dict.get(key)
        if state is None:
            if key.__class__ is tuple and len(key) == _SHORT_KEY:
                return self._get_short(key, default)
            return default
        found = state.obj()
        return default if found is None else found

    def _get_short(self, key: Any, default: Any) -> Any:
        class_, primary_key = key
        try:
            identity_key = inspect(class_).identity_key_from_primary_key(primary_key)
        except (NoInspectionAvailable, AttributeError, TypeError):
            return default  # not a mapped class, or not a key: nothing of it can be in here
        found = self.get(identity_key)
        return found if isinstance(found, class_) else default

    def __repr__(self) -> str:
        entries = [_entry(state) for state in islice(self.all_states(), _SHOWN)]
        if len(self) > _SHOWN:
            entries.append(f"… {len(self) - _SHOWN:,} more")
        return "{" + ", ".join(entries) + "}"


def install(session: Session) -> None:
    """Put our identity map in the place of SQLAlchemy's, which must be new."""
    made = session.identity_map
    if len(made):
        # A listener has filled it already: the states in it refer to the map that they are in.
        made.__class__ = IdentityMap
    else:
        session.identity_map = IdentityMap()


def _entry(state: InstanceState[Any]) -> str:
    """Describe one entry from its key alone: to look at the map must not load anything."""
    _, primary_key, token = cast("tuple[type, tuple[Any, ...], Any]", state.key)
    name = state.class_.__name__
    columns = (column.key for column in state.mapper.primary_key)
    identity = " ".join(
        f"{column}={value!r}" for column, value in zip(columns, primary_key, strict=True)
    )
    short = f"{name}, {primary_key!r}" + ("" if token is None else f", {token!r}")
    return f"({short}): <{name} {identity}>"

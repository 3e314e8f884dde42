"""``diff``: in what two states of an object differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import InstanceState

from sessionwise.audit.asking.change import Change
from sessionwise.audit.asking.decode import Redacted
from sessionwise.errors import OptionError

__all__ = ["diff"]


def diff(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """Return the attributes in which two states differ; see ``Audit.diff``."""
    old, new = _state(before), _state(after)
    names = [*old, *(name for name in new if name not in old)]
    if _is_object(before):
        names = [name for name in names if name in new] if new else names
    if _is_object(after):
        names = [name for name in names if name in old] if old else names
    pairs = ((name, old.get(name), new.get(name)) for name in names)
    return {name: (one, other) for name, one, other in pairs if _differ(one, other)}


def _state(one: Any) -> Mapping[str, Any]:
    """Return the attributes of a state: of a change, what it has left."""
    if one is None:
        return {}
    if isinstance(one, Change):
        return one.row or {}
    if isinstance(one, Mapping):
        return one
    if _is_object(one):
        return {
            column.key: getattr(one, column.key) for column in inspect(one).mapper.column_attrs
        }
    raise OptionError(f"diff() has {one!r}; give changes, mapped objects, dicts or None")


def _is_object(one: Any) -> bool:
    return isinstance(inspect(one, raiseerr=False), InstanceState)


def _differ(one: Any, other: Any) -> bool:
    if isinstance(one, Redacted) != isinstance(other, Redacted) and None not in (one, other):
        return False  # nobody can tell
    return bool(one != other)

"""Technique 5: objects that leave the session with what is needed of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload

from sqlalchemy import inspect
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import LoaderCallableStatus, PassiveFlag
from sqlalchemy.orm.exc import UnmappedInstanceError

from sessionwise.errors import NotLoadedError
from sessionwise.loading import graph, internals, rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.orm import InstanceState, QueryableAttribute, Session

__all__ = ["detach"]

T = TypeVar("T")


@overload
def detach(
    session: Session, instance: Sequence[T], *paths: str | QueryableAttribute[Any]
) -> list[T]: ...


@overload
def detach(session: Session, instance: T, *paths: str | QueryableAttribute[Any]) -> T: ...


def detach(session: Session, instance: Any, *paths: str | QueryableAttribute[Any]) -> Any:
    """Load what is needed of an object, or of many, and take all of it out of the session.

    What was loaded can be read ever after; what was not raises an error that names the path to
    pass. Whatever can be reached from the objects is detached, too: to change it writes nothing.
    Changes that were not flushed are flushed first. Detached objects can be pickled.

    :param instance: an object of the session, or a list of such.
    :param paths: relationships and deferred columns to load, each as an attribute
      (``User.orders``) or by name; dots lead on: ``"orders.items"``.
    :returns: the object, or the objects in a list.
    :raises ArgumentError: for a path that does not exist.
    """
    many = isinstance(instance, list | tuple | set | frozenset)
    roots = list(instance) if many else [instance]
    for root in roots:
        _check_mapped(root)
    session.flush()
    _load_expired(session, [inspect(root) for root in roots])
    for names in _prefixes(paths):
        _load_path(session, roots, names)
    _load_expired(session, graph.reachable(roots))
    found = graph.reachable(roots)
    for state, path in found.items():
        if state.session is session:
            session.expunge(state.obj())
        _guard(state, path)
    return roots if many else instance


def _check_mapped(instance: object) -> None:
    state = inspect(instance, raiseerr=False)
    if state is None or not hasattr(state, "session_id"):
        raise UnmappedInstanceError(instance)


def _prefixes(paths: Iterable[str | QueryableAttribute[Any]]) -> list[tuple[str, ...]]:
    """Return each path, and each beginning of one, the shorter ones first."""
    split = [tuple((one if isinstance(one, str) else one.key).split(".")) for one in paths]
    prefixes = {names[:length]: None for names in split for length in range(1, len(names) + 1)}
    return sorted(prefixes, key=len)


def _load_path(session: Session, roots: list[object], names: tuple[str, ...]) -> None:
    """Load the attribute that ends a path, of all objects that the path before it leads to."""
    objects = roots
    for name in names[:-1]:
        objects = [
            member for one in objects for member in graph.members(inspect(one).dict.get(name))
        ]
    states = list(dict.fromkeys(inspect(one, raiseerr=True) for one in objects))
    for state in states:
        if names[-1] not in state.mapper.attrs:
            raise ArgumentError(
                f"{state.class_.__name__} has no attribute {names[-1]!r}: the path "
                f"{'.'.join(names)!r} leads nowhere"
            )
    lacking = [one for one in states if names[-1] not in one.dict]
    _load_again(session, lacking, names[-1:])


def _load_expired(session: Session, states: Iterable[InstanceState[Any]]) -> None:
    """Load the columns that are expired: nobody can do so later."""
    expired = [
        state
        for state in states
        if any(name in state.mapper.column_attrs for name in state.expired_attributes)
    ]
    _load_again(session, expired)


def _load_again(
    session: Session, states: list[InstanceState[Any]], names: Sequence[str] | None = None
) -> None:
    persistent = [state for state in states if state.session is session and state.persistent]
    for _ in rows.load_again(session, persistent, names):
        pass


def _guard(state: InstanceState[Any], path: str) -> None:
    """Have each attribute that is not loaded say so when it is read."""
    if state.key is None:
        return  # never stored: what is not set is None, and no error
    for name in state.unloaded:
        relationship = state.mapper.relationships.get(name)
        of_column = name in state.mapper.column_attrs
        if of_column or (relationship is not None and relationship.lazy not in _NEVER_LOADED):
            internals.set_loader(state, name, NotLoaded(name, f"{path}.{name}".lstrip(".")))


_NEVER_LOADED = frozenset({"dynamic", "write_only"})
"""Relationships that hold no objects, and say themselves that they need a session."""


@dataclass(frozen=True)
class NotLoaded:
    """What reads an attribute of a detached object; in a session again, it is loaded as ever."""

    attribute: str
    """Its name."""
    path: str
    """What to pass to ``detach()``."""

    def __call__(self, state: InstanceState[Any], passive: PassiveFlag) -> Any:
        """Load the attribute, where there is a session again.

        :raises NotLoadedError: where there is none.
        """
        if state.session is not None:
            return internals.load_by_class(state, self.attribute, passive)
        if not passive & PassiveFlag.SQL_OK or passive & PassiveFlag.NO_RAISE:
            return LoaderCallableStatus.PASSIVE_NO_RESULT
        raise NotLoadedError.of(state.class_.__name__, self.attribute, self.path)

"""Technique 5: objects that leave the session with what is needed of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload

from sqlalchemy import inspect
from sqlalchemy.exc import ArgumentError, InvalidRequestError
from sqlalchemy.orm import LoaderCallableStatus, PassiveFlag, RelationshipDirection
from sqlalchemy.orm.attributes import set_committed_value

from sessionwise.errors import MissingRowsError, NotLoadedError
from sessionwise.loading import graph, internals, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy.orm import InstanceState, Mapper, QueryableAttribute, Session

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
    :raises InvalidRequestError: for an object that is not in this session.
    :raises MissingRowsError: for an object to load that has no row any more; none is detached.
    """
    many = isinstance(instance, list | tuple | set | frozenset)
    roots = list(instance) if many else [instance]
    for root in roots:
        _check(session, root)
    split = [tuple((one if isinstance(one, str) else one.key).split(".")) for one in paths]
    for names in split:
        _check_path({inspect(root).mapper for root in roots}, names)
    session.flush()
    seen = _load_expired(session, list(dict.fromkeys(map(inspect, roots))))
    for names in _prefixes(split):
        _load_path(session, roots, names)
    while lacking := [one for one in graph.reachable(roots) if one not in seen]:
        seen |= _load_expired(session, lacking)  # what is loaded may lead further
    found = graph.reachable(roots)
    _link(found)
    for state, path in found.items():
        if state.session is session:
            session.expunge(state.obj())
        _guard(state, path)
    return roots if many else instance


def _check(session: Session, instance: object) -> None:
    state = internals.checked_state(instance)
    if state.session is not session:
        raise InvalidRequestError(
            f"{state.class_.__name__} object is not in this session: detach it from the session "
            "that has it, once"
        )


def _check_path(mappers: Iterable[Mapper[Any]], names: tuple[str, ...]) -> None:
    """Follow a path from class to class; that of a subclass need not exist in the others."""
    for at, name in enumerate(names):
        classes = [one for mapper in mappers for one in mapper.self_and_descendants]
        leads_to = {one.relationships[name].mapper for one in classes if name in one.relationships}
        is_column = any(name in one.column_attrs for one in classes)
        if not leads_to and classes and not (is_column and at == len(names) - 1):
            raise ArgumentError(
                f"the path {'.'.join(names)!r} leads nowhere: {classes[0].class_.__name__} has no "
                f"{'column or ' if at == len(names) - 1 else ''}relationship {name!r}"
            )
        mappers = leads_to


def _prefixes(paths: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return each path, and each beginning of one, the shorter ones first."""
    prefixes = {names[:length]: None for names in paths for length in range(1, len(names) + 1)}
    return sorted(prefixes, key=len)


def _load_path(session: Session, roots: list[object], names: tuple[str, ...]) -> None:
    """Load the attribute that ends a path, of all objects that the path before it leads to."""
    objects = roots
    for name in names[:-1]:
        objects = [
            member
            for one in objects
            for member in graph.members(internals.state_of(one).dict.get(name))
        ]
    states = dict.fromkeys(internals.state_of(one) for one in objects)
    has_it = [state for state in states if names[-1] in state.mapper.attrs]
    _load_again(session, [one for one in has_it if names[-1] not in one.dict], names[-1:])


def _load_expired(session: Session, states: list[InstanceState[Any]]) -> set[InstanceState[Any]]:
    """Load the columns that are expired: nobody can do so later. Return what was looked at."""
    expired = [
        state
        for state in states
        if any(_is_column(state, name) for name in state.expired_attributes)
    ]
    _load_again(session, expired)
    return set(states)


def _link(found: Iterable[InstanceState[Any]]) -> None:
    """Have what was found refer to what was found: the way back costs nothing."""
    by_key = {state.key: state.obj() for state in found}
    for state in found:
        for name, relationship in state.mapper.relationships.items():
            if (
                name in state.unloaded
                and relationship.direction is RelationshipDirection.MANYTOONE
            ):
                for key in graph.referred_to(state, relationship) or ():
                    if key in by_key:
                        set_committed_value(state.obj(), name, by_key[key])


def _is_column(state: InstanceState[Any], name: str) -> bool:
    """Say whether an attribute is a column that comes with its row."""
    columns = state.mapper.column_attrs
    return name in columns and not columns[name].deferred


def _load_again(
    session: Session, states: Iterable[InstanceState[Any]], names: Sequence[str] | None = None
) -> None:
    persistent = [state for state in states if state.session is session and state.persistent]
    found = set(rows.load_again(session, persistent, names))
    gone = rows.missing(session, [one for one in persistent if one not in found], names)
    if gone:
        raise MissingRowsError.of(gone[0].class_, [internals.key_of(state)[1] for state in gone])


def _guard(state: InstanceState[Any], path: str) -> None:
    """Have each attribute that is not loaded say so when it is read."""
    if state.key is None:
        return  # never stored: what is not set is None, and no error
    for name in state.unloaded:
        if _can_be_loaded(state, name):
            before = state.callables.get(name)
            if isinstance(before, NotLoaded):
                before = before.before
            loader = NotLoaded(name, f"{path}.{name}".lstrip("."), before)
            state.expired_attributes.discard(name)
            internals.set_loader(state, name, loader)


def _can_be_loaded(state: InstanceState[Any], name: str) -> bool:
    """Say whether to read an attribute would load it; else it has a value without that."""
    if name in state.mapper.relationships:
        return state.mapper.relationships[name].lazy not in _NEVER_LOADED
    if name not in state.mapper.column_attrs:
        return False
    return (
        state.mapper.column_attrs[name].deferred
        or name in state.expired_attributes
        or name in state.callables
    )


_NEVER_LOADED = frozenset({"dynamic", "noload", "write_only"})
"""Relationships that hold no objects, or say themselves that they need a session."""


@dataclass(frozen=True)
class NotLoaded:
    """What reads an attribute of a detached object; in a session again, it is loaded as ever."""

    attribute: str
    """Its name."""
    path: str
    """What to pass to ``detach()``."""
    before: Callable[[InstanceState[Any], PassiveFlag], Any] | None = None
    """What would have loaded it, where the object's query has said how."""

    def __call__(self, state: InstanceState[Any], passive: PassiveFlag) -> Any:
        """Load the attribute, where there is a session again.

        :raises NotLoadedError: where there is none.
        """
        if state.session is not None:
            return self._load(state, passive)
        if not passive & PassiveFlag.SQL_OK or passive & PassiveFlag.NO_RAISE:
            return LoaderCallableStatus.PASSIVE_NO_RESULT
        raise NotLoadedError.of(state.class_.__name__, self.attribute, self.path)

    def _load(self, state: InstanceState[Any], passive: PassiveFlag) -> Any:
        if self.before is not None:
            internals.set_loader(state, self.attribute, self.before)
            return self.before(state, passive)
        if not _is_column(state, self.attribute):
            return internals.load_by_class(state, self.attribute, passive)
        if not passive & PassiveFlag.SQL_OK:
            return LoaderCallableStatus.PASSIVE_NO_RESULT
        state.manager.expired_attribute_loader(state, {self.attribute}, passive)
        return LoaderCallableStatus.ATTR_WAS_SET

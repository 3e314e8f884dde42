"""Loading the rows of objects that the session has, as they were loaded before."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Load, LoaderCriteriaOption, Session, load_only, selectinload

from sessionwise.loading import internals, keys

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from sqlalchemy import Select
    from sqlalchemy.orm import InstanceState, Mapper

__all__ = ["load_again", "missing"]


def load_again(
    session: Session,
    states: Iterable[InstanceState[Any]],
    names: Collection[str] | None = None,
    *,
    with_for_update: bool | Mapping[str, Any] | None = None,
) -> Iterator[InstanceState[Any]]:
    """Load what is expired or unloaded of some objects, with the options of their own queries.

    What is loaded already stays as it is.

    :param names: the attributes to load; None: all that the mapping loads.
    :returns: those that have a row; one may come twice.
    """
    for (mapper, *_), group in _alike(states).items():
        if names is None or _have_a_say(group[0], names):
            # What the options load eagerly comes with what the options say about it.
            statement = internals.as_loaded(select(mapper), group[0])
            yield from _load(session, statement, group, with_for_update)
        # The rest comes without them: another way to load the same would be a conflict.
        criteria = [one for one in group[0].load_options if isinstance(one, LoaderCriteriaOption)]
        for lacking, part in _by_what_lacks(group, names or ()).items():
            statement = _only(select(mapper).options(*criteria), mapper, lacking)
            yield from _load(session, statement, part, with_for_update)


def missing(
    session: Session,
    in_doubt: Iterable[InstanceState[Any]],
    names: Collection[str] | None = None,
    *,
    with_for_update: bool | Mapping[str, Any] | None = None,
) -> list[InstanceState[Any]]:
    """Find out which objects that no row came for have none; criteria may only have hidden it.

    Those that have one are refreshed.

    :param names: the attributes to refresh.
    """
    gone: list[InstanceState[Any]] = []
    groups: dict[Mapper[Any], list[InstanceState[Any]]] = defaultdict(list)
    for state in in_doubt:
        groups[state.mapper].append(state)
    for mapper, group in groups.items():
        there = keys.existing(session, mapper, [internals.key_of(state)[1] for state in group])
        for state in group:
            if internals.key_of(state)[1] in there:
                # SQLAlchemy's own, which says nothing about snapshots.
                Session.refresh(session, state.obj(), names, with_for_update or None)  # type: ignore[arg-type]
            else:
                gone.append(state)
    return gone


def _load(
    session: Session,
    statement: Select[Any],
    states: list[InstanceState[Any]],
    with_for_update: bool | Mapping[str, Any] | None,
) -> Iterator[InstanceState[Any]]:
    """Load objects of one class by a SELECT of it."""
    statement = keys.for_update(statement, with_for_update)
    options: dict[str, Any] = {"autoflush": False}
    if states[0].identity_token is not None:
        options["identity_token"] = states[0].identity_token
    wanted = [internals.key_of(state)[1] for state in states]
    for found in keys.load(
        session, statement, states[0].mapper, wanted, execution_options=options
    ):
        yield internals.state_of(found)


def _only(statement: Select[Any], mapper: Mapper[Any], names: Collection[str]) -> Select[Any]:
    """Have a SELECT load some attributes of its objects, and their keys."""
    columns = [mapper.attrs[name] for name in names if name in mapper.column_attrs]
    wanted = [column.class_attribute for column in columns] or keys.attributes(mapper)
    relationships = [mapper.relationships[name] for name in names if name in mapper.relationships]
    return statement.options(
        load_only(*wanted), *(selectinload(one.class_attribute) for one in relationships)
    )


def _alike(
    states: Iterable[InstanceState[Any]],
) -> dict[tuple[Any, ...], list[InstanceState[Any]]]:
    """Group objects that one SELECT can load: of one class, and with the same options."""
    groups: dict[tuple[Any, ...], list[InstanceState[Any]]] = defaultdict(list)
    for state in states:
        groups[state.mapper, state.identity_token, *internals.options_of(state)].append(state)
    return groups


def _have_a_say(state: InstanceState[Any], names: Collection[str]) -> bool:
    """Say whether the options of an object's query are about some of its relationships."""
    relationships = state.mapper.relationships
    named = {relationships[name] for name in names if name in relationships}
    elements = (
        element
        for option in state.load_options
        if isinstance(option, Load)
        for element in option.context
    )
    about = (one for element in elements for one in element.path.path)
    return bool(named) and any(one in named or _means_all(one) for one in about)


def _means_all(part: Any) -> bool:
    """Say whether a part of a path stands for all relationships, as in ``selectinload("*")``."""
    return isinstance(part, str) and part.startswith("relationship:")


def _by_what_lacks(
    states: Iterable[InstanceState[Any]], names: Collection[str]
) -> dict[tuple[str, ...], list[InstanceState[Any]]]:
    """Group objects by those of some attributes that are not loaded; where all are, in none."""
    groups: dict[tuple[str, ...], list[InstanceState[Any]]] = defaultdict(list)
    for state in states:
        if lacking := tuple(name for name in names if name not in state.dict):
            groups[lacking].append(state)
    return groups

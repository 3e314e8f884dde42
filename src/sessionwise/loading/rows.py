"""Loading the rows of objects that the session has, as they were loaded before."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, select
from sqlalchemy.orm import load_only, selectinload

from sessionwise.loading import internals, keys

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from sqlalchemy import Select
    from sqlalchemy.orm import InstanceState, Mapper, Session

__all__ = ["load_again", "only"]


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
    :returns: those that have a row.
    """
    for (mapper, token, *_), group in _alike(states).items():
        statement = internals.as_loaded(select(mapper), group[0])
        if names is not None:
            statement = only(statement, mapper, names)
        if with_for_update:
            statement = keys.for_update(statement, with_for_update)
        options: dict[str, Any] = {"autoflush": False}
        if token is not None:
            options["identity_token"] = token
        wanted = [internals.key_of(state)[1] for state in group]
        for found in keys.load(session, statement, mapper, wanted, execution_options=options):
            yield inspect(found, raiseerr=True)


def only(statement: Select[Any], mapper: Mapper[Any], names: Collection[str]) -> Select[Any]:
    """Have a SELECT load some attributes of its objects, and their keys."""
    relationships = [name for name in names if name in mapper.relationships]
    columns = [mapper.attrs[name] for name in names if name in mapper.column_attrs]
    wanted = [column.class_attribute for column in columns] or keys.attributes(mapper)
    statement = statement.options(load_only(*wanted))
    return statement.options(
        *(selectinload(mapper.relationships[name].class_attribute) for name in relationships)
    )


def _alike(
    states: Iterable[InstanceState[Any]],
) -> dict[tuple[Any, ...], list[InstanceState[Any]]]:
    """Group objects that one SELECT can load: of one class, and with the same options."""
    groups: dict[tuple[Any, ...], list[InstanceState[Any]]] = defaultdict(list)
    for state in states:
        groups[state.mapper, state.identity_token, *internals.options_of(state)].append(state)
    return groups

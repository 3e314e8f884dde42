"""Lazy relationships, for many objects at a time.

The statement that loads a relationship of one object compares columns with the object's values:
``WHERE book.author_id = :author_id``. Compared with the values of many, and asked for those
columns as well, it loads the relationship of all of them. Its options and criteria stay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import BindParameter, ColumnElement, and_, tuple_
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList

from sessionwise.loading import internals, keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy import Result
    from sqlalchemy.orm import InstanceState, RelationshipProperty, Session

    from sessionwise.loading.internals import LazyLoad
    from sessionwise.loading.siblings import Siblings

__all__ = ["load"]

Values = tuple[Any, ...]


class _Comparison(NamedTuple):
    """The comparison, in a lazy loader's criteria, of a column with a value of the object."""

    column: ColumnElement[Any]
    attribute: str
    """The object's attribute that the value comes from."""
    parameter: str
    """The name of the parameter that holds it."""


def load(
    session: Session, siblings: Siblings, execute: Callable[..., Result[Any]], wanted: LazyLoad
) -> list[object] | None:
    """Load a relationship of an object, and of those around it that lack it, too.

    :returns: what the relationship refers to; None where SQLAlchemy is to load it.
    """
    split = _split(wanted)
    if split is None:
        return None
    comparisons, rest = split
    own = tuple(wanted.params[one.parameter] for one in comparisons)
    if not _can_be_looked_up(own):
        return None
    others = dict(_others(session, siblings, wanted, [one.attribute for one in comparisons]))
    values = list(dict.fromkeys([own, *others.values()]))
    if len(values) == 1:
        return None
    columns = [one.column for one in comparisons]
    criterion = and_(_among(columns, values), *rest)
    labelled = (one.label(f"sessionwise_{place}") for place, one in enumerate(columns))
    many = internals.replace_criteria(wanted.statement, criterion).add_columns(*labelled)
    # Referred to until they have it: nobody else may do so.
    instances = [other.obj() for other in others]
    by_values: dict[Values, list[Any]] = defaultdict(list)
    for row in execute(many, execution_options=wanted.execution_options).unique():
        by_values[tuple(row[1:])].append(row[0])
    unsure = keys.in_doubt(values, by_values)
    for other, value in zip(instances, others.values(), strict=True):
        if value not in unsure:
            _give(other, wanted.relationship, by_values[value])
    return None if own in unsure else by_values[own]


def _split(wanted: LazyLoad) -> tuple[list[_Comparison], list[ColumnElement[bool]]] | None:
    """Take a statement's criteria apart: what is compared with the object's values, and the rest.

    None where the values are used in any other way.
    """
    sources = internals.parameters_of(wanted)
    whole = wanted.statement.whereclause
    if whole is None or sources is None:
        return None
    is_list = isinstance(whole, BooleanClauseList) and whole.operator is operators.and_
    comparisons, rest = [], []
    for part in whole.clauses if is_list else [whole]:
        comparison = _comparison(part, sources)
        if comparison is not None:
            comparisons.append(comparison)
        elif any(bind.key in sources for bind in _binds(part)):
            return None
        else:
            rest.append(part)
    if {one.parameter for one in comparisons} != set(sources):
        return None
    return comparisons, rest


def _comparison(part: Any, sources: Mapping[str, str]) -> _Comparison | None:
    if not isinstance(part, BinaryExpression) or part.operator is not operators.eq:
        return None
    for column, bind in ((part.left, part.right), (part.right, part.left)):
        if isinstance(bind, BindParameter) and bind.key in sources and not list(_binds(column)):
            return _Comparison(column, sources[bind.key], bind.key)
    return None


def _binds(clause: Any) -> Iterator[BindParameter[Any]]:
    return (one for one in visitors.iterate(clause) if isinstance(one, BindParameter))


def _others(
    session: Session, siblings: Siblings, wanted: LazyLoad, names: list[str]
) -> Iterator[tuple[InstanceState[Any], Values]]:
    """Give the objects around that lack the relationship, each with its values of ``names``."""
    state, relationship = wanted.state, wanted.relationship.key
    like = internals.options_of(state)
    is_alone = siblings.alone is state
    values: dict[InstanceState[Any], Values] = {}

    def lacks_it(other: InstanceState[Any]) -> bool:
        if (
            other.mapper is not state.mapper
            or relationship in other.dict
            or relationship in other.committed_state
            or (other.runid != state.runid and not is_alone)
            or other.identity_token != state.identity_token
            or internals.options_of(other) != like
        ):
            return False
        found = internals.values_of(other, names)
        if found is None or not _can_be_looked_up(found) or _is_held(session, wanted, found):
            return False
        values[other] = found
        return True

    for other in siblings.near(session, state, lacks_it):
        yield other, values[other]


def _can_be_looked_up(values: Values) -> bool:
    return all(value is not None and isinstance(value, Hashable) for value in values)


def _is_held(session: Session, wanted: LazyLoad, values: Values) -> bool:
    """Say whether the session has what a many-to-one refers to: then nothing is to be loaded."""
    if not wanted.by_primary_key:
        return False
    mapper = wanted.relationship.mapper
    key = mapper.identity_key_from_primary_key(values, wanted.state.identity_token)
    return key in session.identity_map


def _among(columns: list[ColumnElement[Any]], values: list[Values]) -> ColumnElement[bool]:
    if len(columns) == 1:
        return columns[0].in_([value for (value,) in values])
    return tuple_(*columns).in_(values)


def _give(
    instance: object, relationship: RelationshipProperty[Any], referred: list[object]
) -> None:
    """Set the relationship of an object, unless SQLAlchemy has something to say about it."""
    if relationship.uselist:
        set_committed_value(instance, relationship.key, referred)
    elif len(referred) <= 1:
        set_committed_value(instance, relationship.key, referred[0] if referred else None)

"""Mapped instances as rows: what is set on them, and the keys of the parents they refer to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, ColumnElement, inspect
from sqlalchemy.orm import Mapper, RelationshipDirection

from sessionwise.errors import BulkInputError

if TYPE_CHECKING:
    from sqlalchemy.orm import RelationshipProperty

    from sessionwise.bulk.target import Target

__all__ = ["Instances", "mapper_of"]


def mapper_of(class_: type[Any]) -> Mapper[Any] | None:
    """Return the mapper of a class; None where it is not mapped."""
    found = inspect(class_, raiseerr=False)
    return found if isinstance(found, Mapper) else None


@dataclass(frozen=True)
class _Parent:
    """A many-to-one relationship, and where its foreign key comes from."""

    key: str
    pairs: tuple[tuple[str, str, ColumnElement[Any]], ...]
    """Of each column: the attribute here, the attribute of the parent, the parent's column."""


class Instances:
    """Reads the instances of one class."""

    def __init__(self, mapper: Mapper[Any], target: Target | None, position: int) -> None:
        """Prepare for a class.

        :param position: of the first instance, for the error.
        :raises BulkInputError: where the class is not the target's.
        """
        wanted = None if target is None else target.mapper
        if wanted is not None and not mapper.isa(wanted):
            raise BulkInputError.for_row(
                position,
                f"it is a {mapper.class_.__name__}, and the rows are for "
                f"{wanted.class_.__name__}; give instances of that",
            )
        by_column = target is not None and wanted is None
        self._names: dict[str, str] = {}
        for attribute in mapper.column_attrs:
            column = attribute.columns[0]
            if isinstance(column, Column):
                self._names[attribute.key] = str(column.key) if by_column else attribute.key
        self._parents = [
            _parent(mapper, one)
            for one in mapper.relationships
            if one.direction is RelationshipDirection.MANYTOONE and not one.viewonly
        ]

    def __call__(self, instance: Any, position: int) -> dict[str, Any]:
        """Return the values that are set; what is not set is left to its default."""
        state = inspect(instance)
        values = dict(state.dict)
        for parent in self._parents:
            if parent.key in values:
                values.update(self._foreign_key(state, parent, values, position))
        return {name: values[key] for key, name in self._names.items() if key in values}

    def _foreign_key(
        self, state: Any, parent: _Parent, values: dict[str, Any], position: int
    ) -> dict[str, Any]:
        # As in a flush: a parent that was set goes before the column, a loaded one does not.
        is_set = parent.key in state.committed_state
        if not is_set and all(local in values for local, _, _ in parent.pairs):
            return {}
        other = values[parent.key]
        if other is None:
            return {local: None for local, _, _ in parent.pairs} if is_set else {}
        found = {local: _value(other, key, column) for local, key, column in parent.pairs}
        if None in found.values():
            raise BulkInputError.for_row(
                position,
                f"its {parent.key} has no key yet; store the parents first: "
                "session.add_all(parents), then session.flush()",
            )
        return found


def _parent(mapper: Mapper[Any], relationship: RelationshipProperty[Any]) -> _Parent:
    pairs = tuple(
        (
            mapper.get_property_by_column(local).key,
            relationship.mapper.get_property_by_column(remote).key,
            remote,
        )
        for remote, local in relationship.synchronize_pairs or ()
    )
    return _Parent(relationship.key, pairs)


def _value(parent: Any, key: str, column: ColumnElement[Any]) -> Any:
    state = inspect(parent)
    value = state.dict.get(key)
    if value is None and state.identity is not None and column in state.mapper.primary_key:
        return state.identity[state.mapper.primary_key.index(column)]  # its attributes are expired
    return value

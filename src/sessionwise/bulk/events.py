"""The mapper events of a flush, for rows that are written in bulk: one instance for each row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.orm.attributes import instance_dict, instance_state, set_committed_value

from sessionwise.bulk.reading.rows import Chunk
from sessionwise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import Mapper

    from sessionwise.bulk.target import Target

__all__ = ["Events"]


class Events:
    """Calls ``before_insert`` and ``after_insert`` as a flush would."""

    def __init__(self, mapper: Mapper[Any], connection: Connection) -> None:
        self._mapper = mapper
        self._connection = connection
        self._instances: list[Any] = []

    @classmethod
    def of(cls, target: Target, connection: Connection) -> Events | None:
        """Return what calls the listeners of a class; None where it has none.

        :raises OptionError: for a table without a class.
        """
        if target.mapper is None:
            raise OptionError(f"events=True needs a mapped class, and {target.table} is a table")
        dispatch = target.mapper.dispatch
        if not dispatch.before_insert and not dispatch.after_insert:
            return None
        return cls(target.mapper, connection)

    @property
    def want_ids(self) -> bool:
        """Whether the listeners are to see primary keys that the database makes."""
        return bool(self._mapper.dispatch.after_insert)

    def before(self, chunk: Chunk) -> Chunk:
        """Call the listeners before the rows are written; return the rows as they leave them."""
        self._instances = [self._instance(chunk.names, row) for row in chunk.rows]
        for instance in self._instances:
            self._call(self._mapper.dispatch.before_insert, instance)
        columns = self._mapper.column_attrs.keys()
        found = [instance_dict(instance) for instance in self._instances]
        names = tuple(name for name in columns if any(name in one for one in found))
        rows = [[one.get(name) for name in names] for one in found]
        return Chunk(names, chunk.positions, rows)

    def keep(self, at: Sequence[int]) -> None:
        """Forget the rows that have not been stored.

        :param at: which of the rows have been.
        """
        self._instances = [self._instances[one] for one in at]

    def after(self, chunk: Chunk, ids: Sequence[Any] | None) -> None:
        """Call the listeners after the rows have been written."""
        keys = [self._mapper.get_property_by_column(one).key for one in self._mapper.primary_key]
        for at, instance in enumerate(self._instances):
            for name, value in zip(keys, ids[at] if ids is not None else (), strict=False):
                set_committed_value(instance, name, value)
            self._call(self._mapper.dispatch.after_insert, instance)
        self._instances = []

    def _instance(self, names: Sequence[str], row: Sequence[Any]) -> Any:
        instance: Any = self._mapper.class_manager.new_instance()
        for name, value in zip(names, row, strict=True):
            setattr(instance, name, value)
        return instance

    def _call(self, listeners: Any, instance: Any) -> None:
        listeners(self._mapper, self._connection, instance_state(instance))

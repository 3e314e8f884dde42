"""What an upsert or an update sets in rows that are there, and what else changes with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Column, literal
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.selectable import Alias

from sessionwise.bulk.plan import Plan, _RowContext
from sessionwise.bulk.target import Target
from sessionwise.errors import BulkInputError, OptionError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import ColumnElement, Dialect, FromClause

__all__ = ["Assignments", "Excluded", "excluded", "in_order"]

_EXCLUDED = "excluded"


class Excluded:
    """The values that a row was to be inserted with, as attributes, for ``update`` and ``where``.

    ::

        session.bulk_upsert(
            Stock, rows, update={"pieces": Stock.pieces + excluded(Stock).pieces}
        )
    """

    def __init__(self, entity: Any) -> None:
        self._target = Target.of(entity)
        self._alias = self._target.table.alias(_EXCLUDED)

    def __getattr__(self, name: str) -> ColumnElement[Any]:
        return self._alias.c[self._target.column(name).key]


def excluded(entity: Any) -> Excluded:
    """Return the values that the rows of a call have, as SQL, whatever the database."""
    return Excluded(entity)


class Assignments:
    """What is set in rows that are there."""

    def __init__(
        self,
        target: Target,
        keys: Sequence[str] | None,
        update: Iterable[str] | Mapping[str, Any] | None = None,
        where: Any = None,
        *,
        is_update: bool = False,
    ) -> None:
        self.target = target
        self.keys = _keys(target, keys)
        self.is_update = is_update
        """Whether no row is inserted: what rows leave out needs no default."""
        self.where: ColumnElement[bool] | None = where
        self._version: Column[Any] | None = None
        self._chosen: dict[Column[Any], Any] | None = None
        if target.mapper is not None and callable(target.mapper.version_id_generator):
            version = target.mapper.version_id_col
            self._version = version if isinstance(version, Column) else None
        if isinstance(update, Mapping):
            self._chosen = {target.column(name): value for name, value in update.items()}
        elif isinstance(update, str):
            raise OptionError(f"update={update!r} is one name; give a tuple of names")
        elif update is not None:
            self._chosen = {target.column(name): _GIVEN for name in update}
        self.called = [
            column
            for column in target.table.c
            if column.onupdate is not None
            and column.onupdate.is_callable
            and column is not self._version
        ]
        """Columns that have a function to call for each row that is changed."""

    @property
    def changes_nothing(self) -> bool:
        """Whether rows that are there are to stay as they are."""
        return self._chosen is not None and not self._chosen

    def check(self, plan: Plan) -> None:
        """See that rows of a plan have a key.

        :raises BulkInputError: where they have none.
        """
        missing = [key.name for key in self.keys if key not in plan.columns]
        if missing:
            raise BulkInputError(
                f"the rows have no value for {', '.join(missing)}, by which the rows of "
                f"{self.target.table.name} are found; add it, or name other keys="
            )

    def to_be_called(self, plan: Plan) -> list[Column[Any]]:
        """Return the columns whose function is to be called for rows of a plan."""
        changed = self._changed(plan)
        return [column for column in self.called if changed and column not in changed]

    def call(
        self, plan: Plan, columns: Sequence[Column[Any]], found: Sequence[Any], count: int
    ) -> list[list[Any]]:
        """Call the functions of some columns for each row.

        :param found: the values of each column of the plan.
        """
        if not columns:
            return []
        keys = [one.key for one in plan.columns]
        contexts = [
            _RowContext(dict(zip(keys, row, strict=True)), plan.dialect)
            for row in (zip(*found, strict=True) if found else [()] * count)
        ]
        defaults: list[Any] = [column.onupdate for column in columns]
        return [[default.arg(context) for context in contexts] for default in defaults]

    def of(
        self, plan: Plan, source: FromClause, called: Mapping[Column[Any], Any]
    ) -> dict[Column[Any], ColumnElement[Any]]:
        """Return what is set in rows that are there; nothing where rows have but their keys.

        :param source: what has the new values.
        :param called: the values that have been made by calling functions.
        """
        changed = self._changed(plan)
        if not changed:
            return {}
        found = {
            column: source.c[column.key] if value is _GIVEN else _value(column, value, source)
            for column, value in changed.items()
        }
        for column in self.target.table.c:
            if column not in found and column.onupdate is not None and column in called:
                found[column] = called[column]
            elif column not in found and column.onupdate is not None:
                found[column] = _on_update(column)
        if self._version is not None:
            found[self._version] = self._next_version(self._version)
        return found

    def condition(self, source: FromClause) -> ColumnElement[bool] | None:
        """Return what must hold for a row that is there to be changed."""
        return None if self.where is None else resolve(self.where, source)

    def plan(self, names: tuple[str, ...], dialect: Dialect) -> Plan:
        """Return how rows with values of some names are staged."""
        return (_GivenOnly if self.is_update else Plan)(self.target, names, dialect)

    def of_class(self) -> list[ColumnElement[bool]]:
        """Return what tells rows of the class from others in its table."""
        mapper: Any = self.target.mapper
        if mapper is None or not (mapper.single and mapper.inherits):
            return []
        identities = [one.polymorphic_identity for one in mapper.self_and_descendants]
        return [mapper.polymorphic_on.in_(identities)]

    def same_version(self, plan: Plan, source: FromClause) -> list[ColumnElement[bool]]:
        """Return what must hold for rows that say which version of theirs they change."""
        version = self._version
        return [] if version not in plan.given else [version == source.c[version.key]]

    def _changed(self, plan: Plan) -> dict[Column[Any], Any]:
        if self._chosen is None:
            fixed = {*self.keys, self._version}
            if not self.is_update:
                fixed.update(self.target.table.primary_key)  # that is for new rows
            return {column: _GIVEN for column in plan.given if column not in fixed}
        return {
            column: value
            for column, value in self._chosen.items()
            if value is not _GIVEN or column in plan.given
        }

    def _next_version(self, column: Column[Any]) -> ColumnElement[Any]:
        mapper: Any = self.target.mapper
        generator = mapper.version_id_generator
        if generator.__module__ == "sqlalchemy.orm.mapper":
            return column + 1  # SQLAlchemy's own counts
        return literal(generator(None), column.type)


class _GivenOnly(Plan):
    """How rows are written of which no new one is made."""

    @property
    def made(self) -> list[Column[Any]]:
        """There is nothing to make."""
        return []


_GIVEN: Any = object()
"""The value that the row has."""


def _keys(target: Target, names: Sequence[str] | None) -> tuple[Column[Any], ...]:
    if isinstance(names, str):
        raise OptionError(f"keys={names!r} is one name; give a tuple of names")
    keys = tuple(target.table.primary_key) if names is None else tuple(map(target.column, names))
    if not keys:
        raise BulkInputError(
            f"{target.table.name} has no primary key; name the columns of a unique one as keys="
        )
    return keys


def resolve(expression: Any, source: FromClause) -> Any:
    """Put the columns of a source in the place of those of :func:`excluded`."""

    def replace(element: Any, **_: Any) -> Any:
        table = getattr(element, "table", None)
        if isinstance(table, Alias) and table.name == _EXCLUDED:
            return source.c[element.key]
        return None

    if hasattr(expression, "__clause_element__"):
        expression = expression.__clause_element__()
    return visitors.replacement_traverse(cast("ColumnElement[Any]", expression), {}, replace)


def _value(column: Column[Any], value: Any, source: FromClause) -> ColumnElement[Any]:
    if isinstance(value, ClauseElement) or hasattr(value, "__clause_element__"):
        found: ColumnElement[Any] = resolve(value, source)
        return found
    return literal(value, column.type)


def _on_update(column: Column[Any]) -> Any:
    default: Any = column.onupdate
    if default.is_sequence:
        return default.next_value()
    return default.arg if default.is_clause_element else literal(default.arg, column.type)


def in_order(
    assignments: Mapping[Column[Any], Any], dialect: Dialect
) -> list[tuple[Column[Any], Any]]:
    """Return assignments so that none reads what one before it has set: MariaDB sets in turn.

    :raises UnsupportedError: where there is no such order.
    """
    left = dict(assignments)
    found: list[tuple[Column[Any], Any]] = []
    while left:
        free = next(
            (
                column
                for column in left
                if not any(
                    column in _own(value) for other, value in left.items() if other is not column
                )
            ),
            None,
        )
        if free is None:
            names = ", ".join(column.name for column in left)
            raise UnsupportedError(
                f"{dialect.name} sets one column after the other, and the new values of {names} "
                "are made from each other's old ones; update them in two calls"
            )
        found.append((free, left.pop(free)))
    return found


def _own(value: Any) -> set[Column[Any]]:
    """Return the columns of the target that an expression reads."""
    # Columns of a mapped class are annotated, and equal to those of its table all the same.
    return {one for one in visitors.iterate(value) if isinstance(one, Column)}

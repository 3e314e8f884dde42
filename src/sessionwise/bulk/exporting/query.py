"""What an export selects: the statement, what its columns are, and its rows by the driver."""

from __future__ import annotations

import re
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, CursorResult, Select, Table, TextClause, event, inspect, select
from sqlalchemy import types as sqltypes
from sqlalchemy.orm import Bundle, Query
from sqlalchemy.sql.expression import SelectBase
from sqlalchemy.types import TypeDecorator

from sessionwise.bulk.exporting.forms import to_json
from sessionwise.bulk.exporting.stopping import left_early
from sessionwise.errors import BulkInputError
from sessionwise.transaction import activity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session
    from sqlalchemy.types import TypeEngine

    Values = Sequence[Any]

__all__ = ["Captured", "Selected", "SelectedColumn", "capture", "is_select", "kinds", "of", "rows"]


_SELECT = re.compile(
    r"(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*(?:SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE | re.DOTALL
)

_OPTION = "sessionwise_export"
"""The execution option by which the statement is known on its way."""


@dataclass(frozen=True)
class SelectedColumn:
    """One column of what is selected."""

    name: str
    type: TypeEngine[Any] | None = None
    """Its type as SQLAlchemy knows it; None where it does not."""
    is_stored: bool = False
    """Whether it is a table's own column, of which the type is what is stored."""

    def is_a(self, *classes: Any) -> bool:
        """Say whether it is of a type of SQLAlchemy's, and of no type made from one."""
        return isinstance(self.type, classes) and self.is_plain

    @property
    def is_in_utc(self) -> bool:
        """Whether its moments are, those too that SQLite and MySQL store without a time zone."""
        return self.is_a(sqltypes.DateTime) and bool(getattr(self.type, "timezone", False))

    @property
    def is_plain(self) -> bool:
        """Whether nobody has said in Python what its values are to be."""
        of = type(self.type)
        return of.__module__.startswith("sqlalchemy.") and not issubclass(of, TypeDecorator)


@dataclass(frozen=True)
class Selected:
    """What is selected, for one session."""

    statement: Any
    connection: Connection
    names: tuple[str, ...] | None = None
    """The names of the columns, where they are not those that the statement gives them."""
    known: tuple[Any, ...] = ()
    """What SQLAlchemy knows of the columns, where it knows all of them."""

    def columns(self, names: Sequence[str]) -> list[SelectedColumn]:
        """Return the columns, given the names that the database has for them."""
        wanted = self.names or tuple(names)
        known = self.known if len(self.known) == len(names) else (None,) * len(names)
        if len(wanted) != len(names):
            raise BulkInputError(
                f"columns= has {len(wanted)} names, and the statement has {len(names)} columns"
            )
        twice = {name for name in wanted if wanted.count(name) > 1}
        if twice:
            raise BulkInputError(
                f"several columns are called {', '.join(sorted(twice))}: label them in the "
                "statement, or give a name to each with columns="
            )
        return [_column(name, one) for name, one in zip(wanted, known, strict=True)]


@dataclass
class Captured:
    """A statement as its driver would have got it."""

    sql: str | None = None
    """None where it has been sent as it is."""
    parameters: Any = None
    types: list[Any] = field(default_factory=list)
    """The driver's numbers for the types of its columns."""


def of(session: Session, statement: Any, columns: Sequence[str] | None) -> Selected:
    """Return what a statement selects: of a mapped class, all of its columns.

    :raises BulkInputError: for what is no SELECT.
    """
    statement, entity = _as_statement(statement)
    names: list[str] = []
    arguments: dict[str, Any] = {"clause": statement}
    if isinstance(statement, Select):
        descriptions = statement.column_descriptions
        entity = entity or next((one.get("entity") for one in descriptions), None)
        if any(_is_entity(one["expr"]) for one in descriptions):
            expanded = [pair for one in descriptions for pair in _expanded(one["expr"])]
            names = [name for name, _ in expanded]
            statement = statement.with_only_columns(*(one for _, one in expanded))
    if entity is not None and (mapper := inspect(entity, raiseerr=False)) is not None:
        arguments["mapper"] = mapper.mapper
    known = () if isinstance(statement, TextClause) else tuple(statement.selected_columns)
    given = tuple(columns or names) or None
    return Selected(statement, session.connection(bind_arguments=arguments), given, known)


def _as_statement(statement: Any) -> tuple[Any, Any]:
    """Return a SELECT, and the class that was given in its place."""
    if isinstance(statement, Query):
        statement = statement.statement
    if isinstance(statement, Table):
        return select(statement), None
    if isinstance(statement, SelectBase | TextClause):
        return statement, None
    if _is_entity(statement):
        return select(statement), statement
    raise BulkInputError(
        f"{type(statement).__name__} is no SELECT: give a select(), a mapped class, a Table, or "
        "text('SELECT …')"
    )


def _is_entity(expression: Any) -> bool:
    if isinstance(expression, Bundle):
        return True
    found = inspect(expression, raiseerr=False)
    return bool(getattr(found, "is_mapper", False) or getattr(found, "is_aliased_class", False))


def _expanded(expression: Any) -> list[tuple[str, Any]]:
    """Return the columns of a class, named as in its table; others are as they are."""
    if isinstance(expression, Bundle):
        parts: list[Any] = list(expression.exprs)
        return [(one.key, one) for one in parts]
    if not _is_entity(expression):
        name = getattr(expression, "key", None) or getattr(expression, "name", None)
        return [(str(name or expression), expression)]
    attributes = inspect(expression).mapper.column_attrs
    return [
        (getattr(one.columns[0], "name", None) or one.key, getattr(expression, one.key))
        for one in attributes
    ]


def _column(name: str, known: Any) -> SelectedColumn:
    if known is None or isinstance(known.type, sqltypes.NullType):
        return SelectedColumn(name)
    stored = isinstance(known, Column) and isinstance(known.table, Table)
    return SelectedColumn(name, known.type, stored)


def capture(
    session: Session, selected: Selected, wrap: Callable[[str], str | None]
) -> tuple[Captured, Any]:
    """Send another statement in the place of the one that is selected, and return both.

    All that a session does with a statement is done: criteria, options, events.

    :param wrap: returns what is to be sent; None for the statement as it is.
    """
    captured = Captured()

    def before(
        _conn: Any, _cursor: Any, sql: str, parameters: Any, context: Any, _many: bool
    ) -> tuple[str, Any]:
        wrapped = wrap(sql) if _is_meant(context) else None
        if wrapped is None:
            return sql, parameters
        captured.sql, captured.parameters = sql, parameters
        return wrapped, parameters

    def after(
        _conn: Any, cursor: Any, _sql: str, _parameters: Any, context: Any, _many: bool
    ) -> None:
        if _is_meant(context):
            captured.types = [one[1] for one in cursor.description or ()]

    connection = selected.connection
    event.listen(connection, "before_cursor_execute", before, retval=True)
    event.listen(connection, "after_cursor_execute", after)
    try:
        result = _execute(session, selected, stream=False)
    finally:
        event.remove(connection, "before_cursor_execute", before)
        event.remove(connection, "after_cursor_execute", after)
    return captured, result


def _is_meant(context: Any) -> bool:
    """Say whether this is the statement itself: listeners may send others before it."""
    return _OPTION in context.execution_options


def _execute(session: Session, selected: Selected, *, stream: bool) -> Any:
    return session.execute(
        selected.statement,
        execution_options={_OPTION: True, "stream_results": stream},
        bind_arguments={"bind": selected.connection},
    )


@contextmanager
def rows(
    session: Session, selected: Selected, chunk_size: int, result: Any = None
) -> Iterator[tuple[list[SelectedColumn], Iterator[list[Values]]]]:
    """Give the columns, and their values, so many rows at a time.

    :param result: of the statement, where it has been sent already.
    """
    if result is None:
        result = _execute(session, selected, stream=_is_streamed(selected))
    with closing(result):
        cursor = getattr(result, "raw", None) or result
        if isinstance(cursor, CursorResult):
            with left_early(selected.connection, cursor):
                yield _of_cursor(selected, result, cursor, chunk_size)
            return
        # It is an event's own, with values as they are in Python.
        columns = selected.columns(list(result.keys()))
        plain = [replace(one, type=None) for one in columns]
        chunks = map(list, result.partitions(chunk_size))
        yield plain, _columnwise(chunks, [None] * len(columns))


def _of_cursor(
    selected: Selected, result: Any, cursor: CursorResult[Any], chunk_size: int
) -> tuple[list[SelectedColumn], Iterator[list[Values]]]:
    if not cursor.returns_rows or cursor.cursor is None:
        raise BulkInputError("the statement gives no rows: give a SELECT")
    description = cursor.cursor.description
    names = list(result.keys())
    if len(names) != len(description):
        names = [one[0] for one in description]
    columns = selected.columns(names)
    processors = [
        _processor(one, selected.connection, about[1])
        for one, about in zip(columns, description, strict=True)
    ]
    return columns, _columnwise(_fetched(cursor, chunk_size), processors)


def _is_streamed(selected: Selected) -> bool:
    """Say whether PostgreSQL has a cursor for it."""
    statement = selected.statement
    return not isinstance(statement, TextClause) or is_select(statement.text)


def is_select(sql: str) -> bool:
    """Say whether a statement in the database's own words reads rows, and writes none."""
    return _SELECT.match(sql) is not None and not activity.may_write(sql)


def _processor(
    column: SelectedColumn, connection: Connection, type_code: Any
) -> Callable[[Any], Any] | None:
    dialect = connection.dialect
    if column.type is None or column.is_a(sqltypes.Enum):  # its label is what goes into files
        return None
    process = column.type.dialect_impl(dialect).result_processor(dialect, type_code)
    if not column.is_a(sqltypes.JSON):
        return process
    if dialect.name != "postgresql":  # the driver gives what is stored; SQLite makes it a number
        return lambda value: value if value is None or type(value) is str else to_json(value)
    decode = process or _same
    return lambda value: None if value is None else to_json(decode(value))


def _same(value: Any) -> Any:
    return value


def _fetched(cursor: CursorResult[Any], size: int) -> Iterator[list[Any]]:
    """Give the rows as the driver has them; errors are SQLAlchemy's."""
    fetchmany = cursor.cursor_strategy.fetchmany
    while cursor.cursor is not None:  # it is closed with the last row
        some = fetchmany(cursor, cursor.cursor, size)
        if some:
            yield list(some)


def _columnwise(
    chunks: Iterator[list[Any]], processors: list[Callable[[Any], Any] | None]
) -> Iterator[list[Values]]:
    for some in chunks:
        # By columns: that is a few calls for thousands of rows.
        yield [
            values if process is None else list(map(process, values))
            for values, process in zip(zip(*some, strict=True), processors, strict=True)
        ]


def kinds(values: Values) -> set[type]:
    """Return the types of the values of a column, but for None."""
    return set(map(type, values)) - {NoneType}

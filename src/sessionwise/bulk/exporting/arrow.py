"""Arrow: the types that columns have in Parquet and Arrow files, and the files."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import types as sqltypes

from sessionwise.bulk.exporting import forms
from sessionwise.bulk.exporting.query import kinds
from sessionwise.errors import BulkInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from sqlalchemy.types import TypeEngine

    from sessionwise.bulk.exporting.query import SelectedColumn

    Values = Sequence[Any]

__all__ = ["ROWS_IN_A_GROUP", "TEXT_OF", "Batches", "Writer", "pyarrow", "schema", "stored_type"]

TEXT_OF = "sessionwise.text_of"
"""The key of a field's metadata that says what a column of text is: ``json`` or ``uuid``."""

ROWS_IN_A_GROUP = 131_072
"""Rows that are written together: readers are slow with many small groups."""
_BYTES_IN_A_GROUP = 32 * 2**20
"""A group of less rows is written where they are this large."""

_DECIMAL128 = 38
_DECIMAL256 = 76
"""Digits that a decimal of Arrow's has at most."""

_AS_TEXT: dict[type, Callable[[Any], str]] = {
    class_: forms.TEXT.of(class_) for class_ in (UUID, Enum, dict)
}


def pyarrow() -> ModuleType:
    """Import pyarrow.

    :raises ImportError: where it is not installed, with what to do.
    """
    try:
        import pyarrow
    except ImportError as error:
        message = "Parquet and Arrow files need pyarrow: pip install 'sessionwise[arrow]'"
        raise ImportError(message) from error
    return pyarrow  # type: ignore[no-any-return, unused-ignore]


def stored_type(column: SelectedColumn, dialect: str) -> Any:
    """Return the Arrow type of a table's own column; None where only its values tell."""
    if not column.is_stored:
        return None
    if type(column.type) is sqltypes.Interval:  # a decorator, with the same values everywhere
        return pyarrow().duration("us")
    return _type(column.type, dialect) if column.is_plain else None


def schema(columns: Sequence[SelectedColumn], types: Sequence[Any]) -> Any:
    """Return a schema; what is text for want of a type of Arrow's says so in its metadata."""
    arrow = pyarrow()
    return arrow.schema(
        [
            arrow.field(column.name, type_, metadata=_metadata(column, type_))
            for column, type_ in zip(columns, types, strict=True)
        ]
    )


def _metadata(column: SelectedColumn, type_: Any) -> dict[str, str] | None:
    if pyarrow().types.is_string(type_):
        for class_, name in ((sqltypes.JSON, "json"), (sqltypes.Uuid, "uuid")):
            if column.is_a(class_):
                return {TEXT_OF: name}
    return None


def _type(type_: TypeEngine[Any] | None, dialect: str) -> Any:
    for classes, make in _TYPES:
        if isinstance(type_, classes):
            return make(type_, dialect)
    return None


def _integer(type_: Any, dialect: str) -> Any:
    arrow = pyarrow()
    if dialect == "sqlite":  # every integer has 64 bits there
        return arrow.int64()
    size = 64 if isinstance(type_, sqltypes.BigInteger) else 32
    if isinstance(type_, sqltypes.SmallInteger):
        size = 16
    unsigned = getattr(type_, "unsigned", False)
    return getattr(arrow, f"{'u' if unsigned else ''}int{size}")()


def _numeric(type_: Any, _dialect: str) -> Any:
    arrow = pyarrow()
    digits, scale = type_.precision, type_.scale
    if not type_.asdecimal:
        return arrow.float64()
    if digits is None or digits > _DECIMAL256:
        return None
    make = arrow.decimal128 if digits <= _DECIMAL128 else arrow.decimal256
    return make(digits, scale or 0)


def _float(type_: Any, _dialect: str) -> Any:
    return None if type_.asdecimal else pyarrow().float64()


def _datetime(type_: Any, _dialect: str) -> Any:
    return pyarrow().timestamp("us", "UTC" if type_.timezone else None)


def _array(type_: Any, dialect: str) -> Any:
    item = _type(type_.item_type, dialect)
    return None if item is None or type_.dimensions not in {None, 1} else pyarrow().list_(item)


def _simple(name: str, *arguments: Any) -> Callable[[Any, str], Any]:
    return lambda _type, _dialect: getattr(pyarrow(), name)(*arguments)


_TYPES: tuple[tuple[Any, Callable[[Any, str], Any]], ...] = (
    (sqltypes.Integer, _integer),
    (sqltypes.Float, _float),
    (sqltypes.Numeric, _numeric),
    (sqltypes.Boolean, _simple("bool_")),
    ((sqltypes.Enum, sqltypes.String, sqltypes.JSON, sqltypes.Uuid), _simple("string")),
    (sqltypes.LargeBinary, _simple("binary")),
    (sqltypes.DateTime, _datetime),
    (sqltypes.Date, _simple("date32")),
    (sqltypes.Time, _simple("time64", "us")),
    (sqltypes.Interval, _simple("duration", "us")),
    (sqltypes.ARRAY, _array),
)


class Batches:
    """Makes batches of Arrow out of the columns of rows; the first one tells what is not known."""

    def __init__(self, columns: Sequence[SelectedColumn], dialect: str) -> None:
        self._arrow = pyarrow()
        self._columns = columns
        self._dialect = dialect
        self._types: list[Any] = [stored_type(one, dialect) for one in columns]

    def batch(self, values: Sequence[Values]) -> Any:
        """Return a batch of rows, given the values of each column.

        :raises BulkInputError: for a value that is not of its column's type.
        """
        found = [self._array(at, column) for at, column in enumerate(values)]
        self._types = [one.type for one in found]
        return self._arrow.RecordBatch.from_arrays(found, schema=self.schema)

    @property
    def schema(self) -> Any:
        """The names and types of the columns; text where there is no value that tells."""
        types = [
            one or _type(column.type, self._dialect) or self._arrow.string()
            for one, column in zip(self._types, self._columns, strict=True)
        ]
        return schema(self._columns, types)

    def _array(self, at: int, values: Values) -> Any:
        type_, column = self._types[at], self._columns[at]
        try:
            values = _texts(values)
            if type_ is None:
                return self._inferred(values, column)
            return self._arrow.array(values, type_)
        except (self._arrow.ArrowException, TypeError, OverflowError, ValueError) as error:
            is_ = "what the rows before have" if type_ is None else str(type_)
            raise BulkInputError(
                f"column {column.name!r} has a value that is not {is_}: {_first(error)}. Cast it "
                "in the statement, as in cast(column, String)"
            ) from error

    def _inferred(self, values: Values, column: SelectedColumn) -> Any:
        arrow = self._arrow
        found = arrow.array(values)
        if arrow.types.is_null(found.type):
            return found.cast(_type(column.type, self._dialect) or arrow.string())
        if arrow.types.is_decimal(found.type):
            # As many digits as there are: a sum has more of them than what it is of.
            return found.cast(arrow.decimal128(_DECIMAL128, found.type.scale))
        if column.is_in_utc and arrow.types.is_timestamp(found.type):
            return found.cast(arrow.timestamp("us", "UTC"))
        return found


def _texts(values: Values) -> Values:
    """Return values as Arrow takes them: it has no type for some."""
    for kind in kinds(values):
        for class_, form in _AS_TEXT.items():
            if issubclass(kind, class_):
                return [form(one) if isinstance(one, class_) else one for one in values]
    return values


def _first(error: BaseException) -> str:
    first, *_ = str(error).splitlines() or [""]
    return first.rstrip(".")


class Writer:
    """Writes batches of one schema into a Parquet or an Arrow file."""

    def __init__(self, file: Any, schema: Any, format_: str, compression: str | None) -> None:
        self._arrow = pyarrow()
        self._waiting: list[Any] = []
        self._rows = self._size = 0
        self._is_parquet = format_ == "parquet"
        if self._is_parquet:
            from pyarrow import parquet

            how = {} if compression is None else {"compression": compression}
            self._writer: Any = parquet.ParquetWriter(file, schema, **how)
        else:
            options = self._arrow.ipc.IpcWriteOptions(compression=compression)
            self._writer = self._arrow.ipc.new_file(file, schema, options=options)

    def write(self, batch: Any) -> None:
        """Keep a batch until there are enough for a group."""
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._size += batch.nbytes
        if self._rows >= ROWS_IN_A_GROUP or self._size >= _BYTES_IN_A_GROUP:
            self._write_group()

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        if self._waiting:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        table = self._arrow.Table.from_batches(self._waiting)
        if self._is_parquet:
            self._writer.write_table(table, row_group_size=max(self._rows, 1))
        else:
            self._writer.write_table(table.combine_chunks())
        self._waiting, self._rows, self._size = [], 0, 0

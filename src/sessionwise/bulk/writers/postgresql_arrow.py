"""PostgreSQL: Arrow to binary COPY, without a Python object for any value."""

from __future__ import annotations

from datetime import MAXYEAR, MINYEAR
from typing import TYPE_CHECKING, Any

from sqlalchemy import TypeDecorator
from sqlalchemy import types as sqltypes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Column

    from sessionwise.bulk.plan import Plan
    from sessionwise.bulk.reading.rows import Chunk
    from sessionwise.bulk.writers.postgresql_table import Field, Layout

__all__ = ["encoded", "fitting", "greatest"]

_CLASSES: dict[str, type[Any]] = {
    "bool": sqltypes.Boolean,
    "bytea": sqltypes.LargeBinary,
    "date": sqltypes.Date,
    "float8": sqltypes.Float,
    "int2": sqltypes.Integer,
    "int4": sqltypes.Integer,
    "int8": sqltypes.Integer,
    "numeric": sqltypes.Numeric,
    "text": sqltypes.String,
    "time": sqltypes.Time,
    "timestamp": sqltypes.DateTime,
    "timestamptz": sqltypes.DateTime,
    "uuid": sqltypes.Uuid,
    "varchar": sqltypes.String,
}
"""What a column of a type is in the model, where the model does nothing to its values."""


def fitting(chunk: Chunk, plan: Plan, layout: Layout, ids: Sequence[int] | None) -> Any:
    """Return a batch that has the columns of a plan, in their order and of the table's types.

    :param ids: values for the column that is numbered; the last one then.
    :returns: a ``pyarrow.RecordBatch``; None where the rows are to be Python objects.
    """
    if chunk.batch is None or plan.made:
        return None
    try:
        import pgpq  # noqa: F401 (whether it is there)
        import pyarrow as pa
    except ImportError:
        return None  # by Python objects it takes longer, and that is all
    arrays = []
    for column, at in plan.given.items():
        array = _cast(pa, chunk.batch.column(at), column, layout.fields[column])
        array = None if array is None else _as_sent(pa, array, plan.dialect.driver)
        if array is None:
            return None
        arrays.append(array)
    if ids is not None and layout.serial is not None:
        arrays.append(pa.array(ids, _integer(pa, layout.fields[layout.serial].type)))
    names = list(map(str, range(len(arrays))))
    return pa.RecordBatch.from_arrays(arrays, names=names)


def encoded(batch: Any) -> bytes:
    """Return a batch as COPY takes it in binary."""
    from pgpq import ArrowToPostgresBinaryEncoder

    encoder = ArrowToPostgresBinaryEncoder(batch.schema)
    return b"".join((encoder.write_header(), encoder.write_batch(batch), encoder.finish()))


def greatest(array: Any) -> int | None:
    """Return the greatest value of a column."""
    from pyarrow import compute

    found: int | None = compute.max(array).as_py()
    return found


def _cast(pa: Any, array: Any, column: Column[Any], field: Field) -> Any:
    """Return a column as the table takes it; None where only Python knows how."""
    if isinstance(array.type, pa.DictionaryType):
        array = array.dictionary_decode()
    if isinstance(column.type, TypeDecorator | sqltypes.Enum) or not isinstance(
        column.type, _CLASSES.get(field.type, ())
    ):
        return None
    target = _TARGETS[field.type](pa, array.type)
    if target is None:
        return None
    if isinstance(array.type, pa.BaseExtensionType):
        return array.storage
    try:
        array = array.cast(target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None  # a value that is too large: it is refused as a Python object, by its name
    return array


def _as_sent(pa: Any, array: Any, driver: str) -> Any:
    """Return a column as a driver sends such values; None where only the driver knows how."""
    if driver == "asyncpg" and _has_ends_of_time(pa, array):
        return None
    if driver == "psycopg2" and array.type == pa.float64():
        from pyarrow import compute

        return compute.add(array, 0.0)  # by its INSERT, -0.0 is 0 in the end
    return array


def _has_ends_of_time(pa: Any, array: Any) -> bool:
    """Say whether a column has a first or last day of Python's: to asyncpg these are infinity."""
    if not pa.types.is_date(array.type) and not pa.types.is_timestamp(array.type):
        return False
    from pyarrow import compute

    ends = compute.min_max(array)
    years = {compute.year(end).as_py() for end in (ends["min"], ends["max"])}
    return not years.isdisjoint({MINYEAR, MAXYEAR})


def _integer(pa: Any, name: str) -> Any:
    return {"int2": pa.int16(), "int4": pa.int32(), "int8": pa.int64()}[name]


def _target_of_integers(name: str) -> Callable[[Any, Any], Any]:
    def target(pa: Any, found: Any) -> Any:
        return _integer(pa, name) if pa.types.is_integer(found) else None

    return target


def _text(pa: Any, found: Any) -> Any:
    types = pa.types
    is_text = types.is_string(found) or types.is_large_string(found) or types.is_string_view(found)
    return pa.string() if is_text else None


def _bytes(pa: Any, found: Any) -> Any:
    types = pa.types
    is_bytes = types.is_binary(found) or types.is_large_binary(found)
    return pa.binary() if is_bytes or types.is_binary_view(found) else None


def _float(pa: Any, found: Any) -> Any:
    return pa.float64() if found in {pa.float64(), pa.float32()} else None


def _timestamp(*, zoned: bool) -> Callable[[Any, Any], Any]:
    def target(pa: Any, found: Any) -> Any:
        if not pa.types.is_timestamp(found) or (found.tz is not None) is not zoned:
            return None
        return pa.timestamp("us", found.tz)

    return target


_TARGETS: dict[str, Callable[[Any, Any], Any]] = {
    "bool": lambda pa, found: found if pa.types.is_boolean(found) else None,
    "bytea": _bytes,
    "date": lambda pa, found: pa.date32() if pa.types.is_date(found) else None,
    "float8": _float,
    "int2": _target_of_integers("int2"),
    "int4": _target_of_integers("int4"),
    "int8": _target_of_integers("int8"),
    "numeric": lambda pa, found: found if pa.types.is_decimal128(found) else None,
    "text": _text,
    "time": lambda pa, found: pa.time64("us") if pa.types.is_time(found) else None,
    "timestamp": _timestamp(zoned=False),
    "timestamptz": _timestamp(zoned=True),
    "uuid": lambda pa, found: found if found == pa.uuid() else None,
    "varchar": _text,
}
"""What to cast an Arrow type to, for a column of a type; None where that would not be the same."""

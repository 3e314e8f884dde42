"""Columns of text in Arrow, cast to the type of a column without a Python object in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import types

from sessionwise.bulk.reading.batches import arrow
from sessionwise.bulk.reading.parse import underlying
from sessionwise.errors import BulkInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sessionwise.bulk.target import Target

__all__ = ["as_array", "batch", "cast", "fitted", "is_array"]

_INTEGERS = 2**53
"""From here on floating point has not every whole number; Arrow refuses them."""


def cast(array: Any, type_: Any) -> Any:
    """Return text as an array of a column's type; None where Python has to look at each value.

    What it returns is what :mod:`~sessionwise.bulk.reading.parse` would make of it; where Arrow
    reads more or less than that, it returns None.
    """
    pa = arrow()
    wanted = _arrow_type(type_)
    if wanted is None:
        return None
    if wanted == array.type:
        return array
    try:
        return _checked(pa, array, array.cast(wanted))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if not pa.types.is_integer(wanted):
            return None
    import pyarrow.compute as pc

    try:
        whole = pc.replace_substring_regex(array, r"^([+-]?[0-9]+)\.0*$", r"\1")
        return _checked(pa, whole, whole.cast(wanted))
    except pa.ArrowInvalid:
        return None


def fitted(batch: Any, target: Target, start: int) -> Any:
    """Return a batch whose whole numbers are of such a type, where columns are for these.

    Whole numbers with gaps come as floating point from pandas.

    Where the target has ``refusals``, these are told of rows with a number that is not whole; it
    becomes null.

    :param start: the position of its first row, for the error.
    :raises BulkInputError: for a number that is not whole.
    """
    pa = arrow()
    refusals = target.refusals
    for at, name in enumerate(batch.schema.names):
        array = batch.column(at)
        is_for_integers = isinstance(underlying(target.column(name).type), types.Integer)
        if is_for_integers and pa.types.is_floating(array.type):
            try:
                batch = batch.set_column(at, name, array.cast(pa.int64()))
            except pa.ArrowInvalid:
                whole: list[int | None] = []
                for position, value in enumerate(array.to_pylist(), start):
                    if value is None or (value.is_integer() and abs(value) < _INTEGERS):
                        whole.append(None if value is None else int(value))
                        continue
                    problem = f"{name}={value!r} is not a whole number"
                    if refusals is None:
                        raise BulkInputError.for_row(position, problem) from None
                    refusals.refuse(position, name, problem)
                    whole.append(None)
                batch = batch.set_column(at, name, pa.array(whole, pa.int64()))
    return batch


def as_array(values: Sequence[Any], type_: Any) -> Any:
    """Return values as an array of a column's type; as they are where Arrow does not have it."""
    pa = arrow()
    wanted = _arrow_type(type_)
    if wanted is None:
        return values
    try:
        return pa.array(values, wanted)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return values


def is_array(values: Any) -> bool:
    """Say whether values are an array of Arrow's."""
    return isinstance(values, arrow().Array)


def batch(columns: Sequence[Any], names: Sequence[str]) -> Any:
    """Return arrays as a record batch."""
    return arrow().record_batch(columns, names=list(names))


def _checked(pa: Any, text: Any, found: Any) -> Any:
    """Return None where Arrow has read text that Python would read otherwise, or not at all."""
    import pyarrow.compute as pc

    if (
        pa.types.is_integer(found.type)
        and pc.any(pc.match_substring(text, "x", ignore_case=True)).as_py()
    ):
        return None  # hexadecimal
    if pa.types.is_floating(found.type) and pc.any(pc.is_inf(found)).as_py():
        return None  # perhaps it was written out, and is too large
    if pa.types.is_temporal(found.type):
        try:
            pc.min_max(found).as_py()
        except (OverflowError, ValueError):
            return None  # the year 0, which only Arrow has
    return found


def _arrow_type(type_: Any) -> Any:
    pa = arrow()
    type_ = underlying(type_)
    if isinstance(type_, types.Enum):
        return None
    if isinstance(type_, (types.Numeric, types.Float)):
        if not type_.asdecimal:
            return pa.float64()
        return None if type_.scale is None else pa.decimal128(38, type_.scale)
    if isinstance(type_, types.DateTime):
        return pa.timestamp("us", "UTC" if type_.timezone else None)
    by_class = (
        (types.String, pa.string()),
        (types.Boolean, pa.bool_()),
        (types.Integer, pa.int64()),
        (types.Date, pa.date32()),
    )
    return next((found for class_, found in by_class if isinstance(type_, class_)), None)

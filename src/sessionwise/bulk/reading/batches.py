"""Arrow data as record batches of plain types, cut to size."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sessionwise.errors import BulkInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

__all__ = ["arrow", "has_arrow", "is_arrow", "of", "plain", "recut"]

_UNNAMED_INDEX = re.compile(r"__index_level_\d+__")
"""How pandas names an index without a name, such as what filtering leaves."""


def arrow() -> ModuleType:
    """Return pyarrow.

    :raises ImportError: where it is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(
            "Arrow data, Parquet and Feather need pyarrow: pip install 'sessionwise[arrow]'"
        ) from error
    module: ModuleType = pyarrow
    return module


def has_arrow() -> bool:
    """Say whether pyarrow is installed."""
    try:
        arrow()
    except ImportError:
        return False
    return True


def is_arrow(source: Any) -> bool:
    """Say whether something can be had as Arrow data."""
    return hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__")


def of(source: Any) -> Iterator[Any]:
    """Give the record batches of what has ``__arrow_c_stream__``, or is one batch.

    :raises BulkInputError: for data that are not rows, or that Arrow cannot hold.
    """
    pa = arrow()
    try:
        if hasattr(source, "__arrow_c_stream__"):
            yield from pa.RecordBatchReader.from_stream(_with_index(source))
        else:
            yield pa.record_batch(source)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise BulkInputError(
            f"the {type(source).__name__} cannot be read as rows of Arrow data: {error}"
        ) from error


def _with_index(source: Any) -> Any:
    """Return a frame of pandas with its index as columns, where that has a name."""
    if not hasattr(source, "reset_index"):
        return source
    levels = [name for name in source.index.names if name is not None]
    return source.reset_index(levels) if levels else source


def recut(batches: Iterable[Any], size: int) -> Iterator[Any]:
    """Give the same rows, plain, in batches of ``size`` rows; only the last has fewer."""
    pa = arrow()
    waiting: list[Any] = []
    count = start = 0
    for batch in batches:
        at = 0
        while len(batch) - at + count >= size:
            waiting.append(batch.slice(at, size - count))
            at += size - count
            yield plain(_joined(pa, waiting), start)
            waiting, count, start = [], 0, start + size
        if at < len(batch):
            waiting.append(batch.slice(at))
            count += len(batch) - at
    if waiting:
        yield plain(_joined(pa, waiting), start)


def _joined(pa: ModuleType, waiting: list[Any]) -> Any:
    return waiting[0] if len(waiting) == 1 else pa.concat_batches(waiting)


def plain(batch: Any, start: int = 0) -> Any:
    """Return a batch without dictionaries, views, runs and nanoseconds.

    :param start: the position of its first row, for the error.
    :raises BulkInputError: where a time has parts of a microsecond, which no database holds.
    """
    pa = arrow()
    names = [name for name in batch.schema.names if not _UNNAMED_INDEX.fullmatch(name)]
    columns = []
    for name in names:
        array = batch.column(batch.schema.names.index(name))
        try:
            columns.append(_plain(pa, array))
        except pa.ArrowInvalid as error:
            raise BulkInputError(
                f"rows {start:,} to {start + len(batch) - 1:,}: {name!r} is {array.type}, and its "
                f"values do not fit {_plain_type(pa, array.type)}: {error}. Round them first"
            ) from error
    return pa.record_batch(columns, names=names)


def _plain(pa: ModuleType, array: Any) -> Any:
    import pyarrow.compute as pc

    wanted = _plain_type(pa, array.type)
    if wanted == array.type:
        return array
    if isinstance(array.type, pa.BaseExtensionType):
        return _plain(pa, array.storage)
    if pa.types.is_dictionary(array.type):
        return _plain(pa, array.dictionary).take(array.indices)
    if pa.types.is_run_end_encoded(array.type):
        return _plain(pa, pc.run_end_decode(array))
    if "list_view" not in str(array.type):  # pyarrow 26 casts them to arrays that are not valid
        try:
            return array.cast(wanted)
        except pa.ArrowNotImplementedError:
            pass  # views in dictionaries in lists, for instance
    return pa.array(array.to_pylist(), wanted)


def _plain_type(pa: ModuleType, type_: Any) -> Any:
    is_ = pa.types
    if isinstance(type_, pa.BaseExtensionType):
        return (
            type_ if type_.extension_name == "arrow.uuid" else _plain_type(pa, type_.storage_type)
        )
    if is_.is_dictionary(type_) or is_.is_run_end_encoded(type_):
        return _plain_type(pa, type_.value_type)
    if _is_nested(pa, type_):
        return _plain_nested(pa, type_)
    if is_.is_timestamp(type_) and type_.unit == "ns":
        return pa.timestamp("us", type_.tz)
    by_type = {
        pa.string_view(): pa.string(),
        pa.binary_view(): pa.binary(),
        pa.time64("ns"): pa.time64("us"),
        pa.duration("ns"): pa.duration("us"),
        pa.float16(): pa.float32(),
        pa.date64(): pa.date32(),
    }
    return by_type.get(type_, type_)


def _is_nested(pa: ModuleType, type_: Any) -> bool:
    is_ = pa.types
    kinds = (
        is_.is_list,
        is_.is_list_view,
        is_.is_fixed_size_list,
        is_.is_large_list,
        is_.is_large_list_view,
        is_.is_struct,
    )
    return any(is_kind(type_) for is_kind in kinds)


def _plain_nested(pa: ModuleType, type_: Any) -> Any:
    is_ = pa.types
    if is_.is_list(type_) or is_.is_list_view(type_) or is_.is_fixed_size_list(type_):
        return pa.list_(_plain_type(pa, type_.value_type))
    if is_.is_large_list(type_) or is_.is_large_list_view(type_):
        return pa.large_list(_plain_type(pa, type_.value_type))
    return pa.struct([(field.name, _plain_type(pa, field.type)) for field in type_])

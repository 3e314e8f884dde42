"""Chunks of text converted to the types of the columns that they are for."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import types

from sessionwise.bulk.reading import casts
from sessionwise.bulk.reading.parse import Parser, RefusedError, parser, underlying
from sessionwise.bulk.reading.rows import Chunk, short
from sessionwise.errors import BulkInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Column

    from sessionwise.bulk.target import Refusals, Target

__all__ = ["Converter", "ExactFloat", "exact_float"]

_REFUSALS = (ArithmeticError, LookupError, TypeError, ValueError)
"""What is raised for a value that cannot be converted."""

_EXACT_DIGITS = 15
"""As many digits a float always keeps."""


class ExactFloat(float):
    """A number of a JSON file that has more digits than a float keeps, and its digits."""

    text: str


def exact_float(text: str) -> float:
    """Read a number of a JSON file; none of its digits is lost."""
    if len(text) <= _EXACT_DIGITS:
        return float(text)
    value = ExactFloat(text)
    value.text = text
    return value


class Converter:
    """Converts the chunks of one source."""

    def __init__(
        self, target: Target, where: Callable[[int], str], *, is_json: bool = False
    ) -> None:
        """Prepare for a target.

        :param where: says where in the file the row of a position is, for the error.
        :param is_json: whether only strings are text, and other values are of a type already.
        """
        self._target = target
        self._where = where
        self._is_json = is_json
        self._parsers: dict[str, Parser | None] = {}

    def convert(self, chunk: Chunk) -> Chunk:
        """Return the chunk with values of the columns' types.

        It has a batch again, where it came as one and Arrow has all the types.

        Where the target has ``refusals``, rows that cannot be converted are told to these, and
        have None in the place of the value.

        :raises BulkInputError: for a value that cannot be converted: the first row that has one.
        """
        refusals = self._target.refusals
        if refusals is not None:
            refusals.keep(chunk)
        columns = [self._target.column(name) for name in chunk.names]
        given: Sequence[Any]
        if chunk.values is None:
            given = chunk.batch.columns
        elif chunk.values:
            given = list(zip(*chunk.values, strict=True))
        else:
            return chunk
        found, failed = [], []
        for at, (column, values) in enumerate(zip(columns, given, strict=True)):
            try:
                found.append(self._column(chunk.names[at], column, values))
            except _REFUSALS:
                if refusals is not None:
                    found.append(self._refusing(chunk, at, column, values, refusals))
                failed.append(at)
        if failed and refusals is None:
            raise self._error(chunk, columns, given, failed)
        return _joined(chunk, found)

    def _column(self, name: str, column: Column[Any], values: Any) -> Any:
        if not isinstance(values, tuple):
            array = casts.cast(values, column.type)
            if array is not None:
                return array
            return casts.as_array(self._parse(name, column, values.to_pylist()), column.type)
        return self._parse(name, column, values)

    def _refusing(
        self, chunk: Chunk, at: int, column: Column[Any], values: Any, refusals: Refusals
    ) -> Any:
        """Convert the values of a column one by one; one that is refused becomes None."""
        name = chunk.names[at]
        is_array = not isinstance(values, tuple)
        found: list[Any] = []
        for position, value in zip(
            chunk.positions, values.to_pylist() if is_array else values, strict=True
        ):
            try:
                found.extend(self._parse(name, column, [value]))
            except _REFUSALS as error:
                found.append(None)
                refusals.refuse(position, name, self._reason(name, column, value, error))
        return casts.as_array(found, column.type) if is_array else found

    def _parse(self, name: str, column: Column[Any], values: Sequence[Any]) -> Sequence[Any]:
        if self._is_json:
            return self._parse_json(name, column, values)
        found = self._parser(name, column)
        if found is None:
            return values
        parse = found.parse
        return [None if value is None else parse(value) for value in values]

    def _parse_json(self, name: str, column: Column[Any], values: Sequence[Any]) -> Sequence[Any]:
        type_ = underlying(column.type)
        if isinstance(type_, types.JSON):
            return values
        found = self._parser(name, column)
        return [_from_json(value, type_, found) for value in values]

    def _parser(self, name: str, column: Column[Any]) -> Parser | None:
        if name not in self._parsers:
            self._parsers[name] = parser(column.type)
        return self._parsers[name]

    def _error(
        self, chunk: Chunk, columns: Sequence[Column[Any]], given: Sequence[Any], failed: list[int]
    ) -> BulkInputError:
        first: tuple[int, int, Any, Exception] | None = None
        for at in failed:
            values = given[at] if isinstance(given[at], tuple) else given[at].to_pylist()
            for row, value in enumerate(values):
                if first is not None and row >= first[0]:
                    break
                try:
                    self._parse(chunk.names[at], columns[at], [value])
                except _REFUSALS as why:
                    first = (row, at, value, why)
                    break
        if first is None:  # pragma: no cover - what fails together fails alone
            raise AssertionError(failed)
        row, at, value, error = first
        reason = self._reason(chunk.names[at], columns[at], value, error)
        position = chunk.positions[row]
        return BulkInputError.for_row(position, f"{self._where(position)}: {reason}")

    def _reason(self, name: str, column: Column[Any], value: Any, error: Exception) -> str:
        found = self._parser(name, column)
        reason = str(error)
        if not isinstance(error, RefusedError):
            reason = f"is not {'a value of its type' if found is None else found.expects}"
        return f"{name}={short(value)} {reason}"


def _from_json(value: Any, type_: Any, found: Parser | None) -> Any:
    if isinstance(value, str):
        return value if found is None else found.parse(value)
    if isinstance(value, float):
        return _from_float(value, type_)
    if isinstance(value, list) and isinstance(type_, types.ARRAY):
        item = parser(type_.item_type)
        inner = type_ if any(isinstance(one, list) for one in value) else type_.item_type
        return [_from_json(one, underlying(inner), item) for one in value]
    if isinstance(type_, types.Enum) and found is not None and value is not None:
        return found.parse(str(value))
    return value


def _from_float(value: float, type_: Any) -> Any:
    if isinstance(type_, types.Integer):
        if not value.is_integer():
            raise ValueError(value)
        return int(value)
    if isinstance(type_, (types.Numeric, types.Float)) and type_.asdecimal:
        return Decimal(value.text if isinstance(value, ExactFloat) else repr(value))
    return float(value)


def _joined(chunk: Chunk, columns: list[Any]) -> Chunk:
    if chunk.values is None:
        if all(map(casts.is_array, columns)):
            return Chunk(chunk.names, chunk.positions, batch=casts.batch(columns, chunk.names))
        columns = [one.to_pylist() if casts.is_array(one) else one for one in columns]
    return Chunk(chunk.names, chunk.positions, list(zip(*columns, strict=True)))

"""The bytes of an export: columns of values, or COPY's CSV, become a file of a format."""

from __future__ import annotations

import io
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import types as sqltypes

from sessionwise.bulk.exporting import arrow as columnar
from sessionwise.bulk.exporting import forms
from sessionwise.errors import BulkInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sessionwise.bulk.exporting.copy import CopyQuery
    from sessionwise.bulk.exporting.query import SelectedColumn
    from sessionwise.bulk.exporting.sinks import Format

    Values = Sequence[Any]

__all__ = ["ArrowFromCsv", "Encoder", "Style", "of", "write_header"]

_DELIMITERS = {"csv": ",", "tsv": "\t"}

_BLOCK = 8 * 2**20
"""Bytes of CSV that are made into Arrow at a time."""

_COLUMN = re.compile(r"column #(\d+)")
"""How pyarrow names a column of CSV."""


@dataclass(frozen=True)
class Style:
    """How the file is to look."""

    format: Format
    header: bool
    null: str
    compression: str | None
    """In Parquet and Arrow files, of the columns."""

    @property
    def is_delimited(self) -> bool:
        """Whether it is CSV or TSV."""
        return self.format in _DELIMITERS

    @property
    def delimiter(self) -> str:
        """What is between two values."""
        return _DELIMITERS[self.format]

    @property
    def is_columnar(self) -> bool:
        """Whether it has types, and its columns stand one after the other."""
        return self.format in {"parquet", "arrow"}


class Encoder(Protocol):
    """Writes rows into a file."""

    def write(self, values: Sequence[Values]) -> None:
        """Write some rows, given the values of each column."""
        ...

    def close(self) -> None:
        """Write what belongs to the file's end."""
        ...


def of(style: Style, columns: Sequence[SelectedColumn], dialect: str, file: Any) -> Encoder:
    """Return what writes rows in a format."""
    if style.is_columnar:
        return _Arrow(style, columns, dialect, file)
    if style.is_delimited:
        write_header(style, columns, file)
        return _Delimited(style, columns, file)
    return _JsonLines(columns, dialect, file)


def write_header(style: Style, columns: Sequence[SelectedColumn], file: Any) -> None:
    """Write the names of the columns as the first line, where they are wanted."""
    if style.header:
        fields = [
            forms.csv_field(forms.TEXT, [one.name], style.delimiter, style.null) for one in columns
        ]
        file.write(forms.csv_lines(fields, style.delimiter))


class _Delimited:
    """CSV and TSV."""

    def __init__(self, style: Style, columns: Sequence[SelectedColumn], file: Any) -> None:
        self._style = style
        self._columns = columns
        self._file = file

    def write(self, values: Sequence[Values]) -> None:
        delimiter, null = self._style.delimiter, self._style.null
        fields = []
        for column, some in zip(self._columns, values, strict=True):
            form = forms.TEXT_UTC if column.is_in_utc else forms.TEXT
            with _named(column):
                fields.append(forms.csv_field(form, some, delimiter, null))
        self._file.write(forms.csv_lines(fields, delimiter))

    def close(self) -> None:
        pass


class _JsonLines:
    """JSON Lines."""

    def __init__(self, columns: Sequence[SelectedColumn], dialect: str, file: Any) -> None:
        self._columns = columns
        self._names = [one.name for one in columns]
        self._is_checked = dialect == "postgresql"
        self._file = file

    def write(self, values: Sequence[Values]) -> None:
        fields = [self._field(one, some) for one, some in zip(self._columns, values, strict=True)]
        self._file.write(forms.json_lines(self._names, fields))

    def close(self) -> None:
        pass

    def _field(self, column: SelectedColumn, values: Values) -> Sequence[str]:
        if not column.is_a(sqltypes.JSON):
            with _named(column):
                form = forms.JSON_UTC if column.is_in_utc else forms.JSON
                return forms.json_field(form, values)
        if not self._is_checked:
            _check_json(column, values)
        return [
            "null" if one is None else one.replace("\n", " ").replace("\r", " ") for one in values
        ]


def _check_json(column: SelectedColumn, values: Values) -> None:
    for value in values:
        if value is not None:
            try:
                json.loads(value)
            except ValueError as error:
                raise BulkInputError(
                    f"column {column.name!r} has a value that is no JSON: {error}. Mend it, "
                    "or export it as text: cast(column, String)"
                ) from error


class _Arrow:
    """Parquet and Arrow."""

    def __init__(
        self, style: Style, columns: Sequence[SelectedColumn], dialect: str, file: Any
    ) -> None:
        self._style = style
        self._file = file
        self._batches = columnar.Batches(columns, dialect)
        self._writer: columnar.Writer | None = None

    def write(self, values: Sequence[Values]) -> None:
        batch = self._batches.batch(values)
        self._opened().write(batch)

    def close(self) -> None:
        self._opened().close()

    def _opened(self) -> columnar.Writer:
        if self._writer is None:
            style, schema = self._style, self._batches.schema
            self._writer = columnar.Writer(self._file, schema, style.format, style.compression)
        return self._writer


@contextmanager
def _named(column: SelectedColumn) -> Iterator[None]:
    try:
        yield
    except TypeError as error:
        raise BulkInputError(
            f"column {column.name!r}: {error}. Cast it in the statement, as in "
            "cast(column, String)"
        ) from error


class ArrowFromCsv:
    """Makes a Parquet or an Arrow file out of the CSV that COPY writes."""

    def __init__(self, query: CopyQuery, style: Style, file: Any) -> None:
        columnar.pyarrow()
        from pyarrow import csv

        self._csv = csv
        self._names = [one.name for one in query.columns]
        self._types = query.arrow_types
        self._binary = query.binary
        self._schema = columnar.schema(query.columns, self._types)
        self._writer = columnar.Writer(file, self._schema, style.format, style.compression)
        self._gathered: list[bytes] = []
        self._size = 0

    def write(self, block: bytes) -> int:
        """Take whole lines; return how many rows have been made of these and those before."""
        self._gathered.append(block)
        self._size += len(block)
        return self._convert() if self._size >= _BLOCK else 0

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        if self._gathered:
            self._convert()
        self._writer.close()

    def _convert(self) -> int:
        data = b"".join(self._gathered)
        self._gathered, self._size = [], 0
        with self._errors():
            table = self._read(data)
        for batch in table.to_batches():
            self._writer.write(batch)
        rows: int = table.num_rows
        return rows

    def _read(self, data: bytes) -> Any:
        arrow, csv = columnar.pyarrow(), self._csv
        types = dict(zip(self._names, self._types, strict=True))
        for at in self._binary:
            types[self._names[at]] = arrow.string()
        table = csv.read_csv(
            io.BytesIO(data),
            # One block: a row that reaches over the end of another one would be an error.
            read_options=csv.ReadOptions(column_names=self._names, block_size=len(data) + 1),
            parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(
                column_types=types,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        for at in self._binary:
            values = table.column(at).to_pylist()
            found = [None if one is None else bytes.fromhex(one[2:]) for one in values]
            table = table.set_column(
                at, self._schema.field(at), arrow.array(found, arrow.binary())
            )
        return table

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except columnar.pyarrow().ArrowException as error:
            first, *_ = str(error).splitlines()
            at = _COLUMN.search(first)
            name = self._names[int(at[1])] if at else ", ".join(self._names)
            raise BulkInputError(
                f"column {name!r} has a value that Arrow has not: {first}. Cast it in the "
                "statement, as in cast(column, String)"
            ) from error

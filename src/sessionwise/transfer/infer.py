"""A table for the rows of files: types by all of their values, so that a load rejects none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sessionwise.bulk.reading.batches import arrow
from sessionwise.bulk.reading.columnar import Columnar
from sessionwise.bulk.reading.jsonlines import JsonLines
from sessionwise.errors import BulkInputError
from sessionwise.transfer import create
from sessionwise.transfer.arrow import is_text, type_of
from sessionwise.transfer.guesses import Guess
from sessionwise.transfer.reject_columns import without_reject_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Dialect

    from sessionwise.bulk.reading.rows import Chunk, Source

__all__ = ["infer"]

_ROWS = 50_000
"""Rows that are looked at together: the more they are, the fewer of their values are new."""


def infer(
    sources: Sequence[Source],
    dialect: Dialect,
    name: str,
    *,
    schema: str | None = None,
    keys: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    progress: Callable[[int], object] | None = None,
) -> sa.Table:
    """Return a table that holds all rows of some files; nothing is created yet.

    Texts are read to their end, each value; Parquet and Arrow files say by themselves what they
    have.

    :param sources: the files, all of one format, each to be read more than once.
    :param keys: the columns of the primary key, by their names in the table.
    :param rename: names of columns of the files, and what they are called in the table.
    :param progress: called with the number of rows that have been looked at.
    :raises BulkInputError: for files that are no rows of one table, and for names or keys that
        the database does not take.
    """
    if len({isinstance(one, Columnar) or one.format for one in sources}) > 1:
        raise BulkInputError(
            "the files are of several formats, whose types are not the same; create the table by "
            "those of one format, and load the others into it"
        )
    if isinstance(sources[0], Columnar):
        found = _by_schema(sources, dialect, keys, rename or {})
    else:
        found = _by_values(sources, dialect, keys, rename or {}, progress)
    for key in keys:
        if all(column.name != key for column in found):
            raise BulkInputError(
                f"the key {key!r} is no column of the file; it has "
                f"{', '.join(column.name for column in found)}"
            )
    return create.table(name, schema, found, dialect)


def _column(name: str, type_: Any, *, is_key: bool, has_gaps: bool) -> sa.Column[Any]:
    return sa.Column(
        name, type_, primary_key=is_key, nullable=has_gaps and not is_key, autoincrement=False
    )


def _by_values(
    sources: Sequence[Source],
    dialect: Dialect,
    keys: Sequence[str],
    rename: Mapping[str, str],
    progress: Callable[[int], object] | None,
) -> list[sa.Column[Any]]:
    guesses: dict[str, Guess] = {}
    rows = 0
    for source in sources:
        for name in source.names:
            guesses.setdefault(name, Guess())
        add = _add_values if isinstance(source, JsonLines) else _add_texts
        for chunk in source.chunks(target=None, columns=None, chunk_size=_ROWS):
            add(guesses, chunk)
            rows += len(chunk)
            if progress is not None:
                progress(rows)
    if "" in guesses:
        raise BulkInputError("a column has no name; give it one in the file")
    found = []
    for given in without_reject_columns(list(guesses)):
        guess, name = guesses[given], rename.get(given, given)
        if not name:
            continue
        is_key, has_gaps = name in keys, guess.count < rows
        if is_key and has_gaps:
            raise BulkInputError(
                f"the key {name!r} has no value in {rows - guess.count:,} of {rows:,} rows; use "
                "a column that always has one"
            )
        try:
            type_ = create.guessed(guess, dialect, is_key=is_key)
        except BulkInputError as error:
            raise BulkInputError(f"column {name!r}: {error}") from None
        column = _column(name, type_, is_key=is_key, has_gaps=has_gaps)
        column.info["is_empty"] = not guess.count
        found.append(column)
    return found


def _add_texts(guesses: dict[str, Guess], chunk: Chunk) -> None:
    if chunk.values is None:
        import pyarrow.compute as pc

        for name, array in zip(chunk.names, chunk.batch.columns, strict=True):
            texts = set(pc.unique(array).to_pylist()) - {None}
            guesses[name].add_texts(texts, len(array) - array.null_count)
        return
    for name, values in zip(chunk.names, zip(*chunk.values, strict=True), strict=True):
        texts = set(values) - {None}
        guesses[name].add_texts(texts, len(values) - values.count(None))


def _add_values(guesses: dict[str, Guess], chunk: Chunk) -> None:
    columns = zip(*chunk.rows, strict=True) if chunk.names else ()
    for name, values in zip(chunk.names, columns, strict=True):
        guesses.setdefault(name, Guess()).add_values(values)


def _by_schema(
    sources: Sequence[Source], dialect: Dialect, keys: Sequence[str], rename: Mapping[str, str]
) -> list[sa.Column[Any]]:
    pa = arrow()
    try:
        schema = pa.unify_schemas([one.schema() for one in sources if isinstance(one, Columnar)])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise BulkInputError(f"the files have not the same columns: {error}") from error
    longest = _longest(sources, schema) if create.is_mysql(dialect) else {}
    found = []
    for given in without_reject_columns(schema.names):
        field, name = schema.field(given), rename.get(given, given)
        if not name:
            continue
        try:
            type_ = type_of(field.type, dialect, longest.get(field.name), is_key=name in keys)
        except BulkInputError as error:
            raise BulkInputError(f"column {name!r}: {error}") from None
        found.append(_column(name, type_, is_key=name in keys, has_gaps=field.nullable))
    return found


def _longest(sources: Sequence[Source], schema: Any) -> dict[str, int]:
    """Return how long the texts of each column are, which the schema does not say."""
    import pyarrow.compute as pc

    names = [field.name for field in schema if is_text(field.type)]
    longest = dict.fromkeys(names, 0)
    for source in sources:
        for chunk in source.chunks(target=None, columns=names, chunk_size=_ROWS) if names else ():
            for name, array in zip(chunk.names, chunk.batch.columns, strict=True):
                if array.null_count < len(array):
                    longest[name] = max(longest[name], pc.max(pc.utf8_length(array)).as_py())
    return longest

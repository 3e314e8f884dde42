"""``read``: a file as rows, a stream that never is all in memory."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sessionwise.bulk.reading.columnar import Columnar
from sessionwise.bulk.reading.delimited import Delimited
from sessionwise.bulk.reading.files import COMPRESSIONS, InputFile
from sessionwise.bulk.reading.jsonlines import JsonLines
from sessionwise.bulk.reading.rows import Source
from sessionwise.errors import BulkInputError, OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BATCH_ROWS", "FORMATS", "Source", "read"]

BATCH_ROWS = 10_000
"""How many rows are in memory at a time."""

FORMATS = ("csv", "tsv", "jsonl", "parquet", "arrow")
"""What is read."""

_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_BY_MAGIC = {b"PAR1": "parquet", b"ARROW1": "arrow", b"\xff\xff\xff\xff": "arrow", b"{": "jsonl"}
_TEXT = frozenset({"csv", "tsv", "jsonl"})


def read(
    path_or_file: str | os.PathLike[str] | Any,
    *,
    format: str | None = None,  # noqa: A002 - it is called so everywhere
    encoding: str = "utf-8",
    delimiter: str | None = None,
    header: bool = True,
    columns: Sequence[str] | None = None,
    null: str | None = "",
    batch_rows: int = BATCH_ROWS,
) -> Source:
    """Give the rows of a file, as a stream: for ``bulk_insert(User, bulk.read("users.csv.gz"))``.

    Each iteration opens the file anew, and so does a file object that can seek; one that cannot,
    such as a pipe, is read once. What is compressed by gzip or zstd is known by its first bytes.

    The values of CSV and TSV are strings, and so are dates in JSON Lines; a bulk verb converts
    them to the types of its table's columns. Quotes make no difference to ``null``: the empty
    string and an empty quoted string are the same.

    :param format: ``"csv"``, ``"tsv"``, ``"jsonl"``, ``"parquet"`` or ``"arrow"`` (Feather and
        Arrow streams included); None: as the suffix says, or the first bytes.
    :param encoding: of the text.
    :param delimiter: between the values; None: a comma, in TSV a tab.
    :param header: whether the first line has the names; without them ``columns`` has.
    :param columns: the names of all columns of CSV and TSV, in the place of the header's; of the
        other formats, those to be read.
    :param null: the text that means None in CSV and TSV; None: no text does.
    :param batch_rows: how many rows are in memory at a time, where they are iterated over.
    :raises OSError: for a path that cannot be read.
    :raises BulkInputError: for something else than a path or file, or where its format is unknown;
        later, for what is not as it should be in it.
    :raises OptionError: for an option's value that is none.
    """
    if format is not None and format not in FORMATS:
        raise OptionError.for_value("format", format, FORMATS)
    if isinstance(batch_rows, bool) or not isinstance(batch_rows, int) or batch_rows < 1:
        raise OptionError(f"batch_rows={batch_rows!r} is not a size; use 1 or more")
    chosen = format or _format_of(path_or_file)
    file = InputFile(path_or_file, encoding if chosen in _TEXT else None)
    if chosen in {"parquet", "arrow"}:
        return Columnar(file, format=chosen, columns=columns, batch_rows=batch_rows)
    if chosen == "jsonl":
        return JsonLines(file, columns=columns, batch_rows=batch_rows)
    return Delimited(
        file,
        format=chosen,
        delimiter=delimiter or ("\t" if chosen == "tsv" else ","),
        header=header,
        columns=columns,
        null=null,
        batch_rows=batch_rows,
    )


def _format_of(source: Any) -> str:
    """Return what a file is by its name, or by its first bytes.

    :raises BulkInputError: where neither tells.
    """
    name = str(source if isinstance(source, (str, os.PathLike)) else getattr(source, "name", ""))
    path = Path(name)
    if path.suffix.lower() in COMPRESSIONS:
        path = path.with_suffix("")
    found = _BY_SUFFIX.get(path.suffix.lower())
    if found is not None:
        return found
    file = InputFile(source, None)
    if not file.once:
        with closing(file.open()) as opened:
            head = opened.peek(8)
        for magic, format_ in _BY_MAGIC.items():
            if head.startswith(magic):
                return format_
    raise BulkInputError(
        f"what {file.name} is, neither its name nor its first bytes tell; give format=, one of "
        f"{', '.join(map(repr, FORMATS))}"
    )

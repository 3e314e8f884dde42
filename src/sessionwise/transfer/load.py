"""``load``: files into a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sessionwise.transfer.at_once import at_once
from sessionwise.transfer.inputs import Inputs
from sessionwise.transfer.options import checked
from sessionwise.transfer.resumable import in_pieces
from sessionwise.transfer.tally import Tally

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from sqlalchemy import Engine, Table

    from sessionwise.bulk.reading.rows import Source
    from sessionwise.transfer.options import LoadOptions, LoadProgress, LoadResult

__all__ = ["load"]


def load(
    engine: Engine,
    table: Table,
    sources: Sequence[Source | str | os.PathLike[str]],
    options: LoadOptions,
    progress: Callable[[LoadProgress], object] | None = None,
) -> LoadResult:
    """Load files into a table.

    By itself in one transaction: where anything goes wrong, nothing is stored. With
    ``commit_every``, ``resume`` or ``jobs`` in pieces, each in a transaction of its own together
    with a checkpoint: killed at any moment and begun again with ``resume``, each row is stored
    once.

    Whatever error ends it, KeyboardInterrupt included, has a note that says what is stored.

    :param engine: of the database, with a driver that is not for asyncio.
    :param sources: paths, or what ``bulk.read()`` returns.
    :param progress: called in this thread after each piece.
    :raises LoadError: for a load that cannot begin, or go on, as asked: an earlier one has not
      come to its end, or the reject file is there already.
    :raises BulkInputError: for a file that is damaged, or is not what the table takes.
    :raises TooManyRejectsError: past ``max_errors``.
    :raises OptionError: for options that do not fit together.
    """
    options = checked(options)
    inputs = Inputs(sources, options.rename)
    tally = Tally(progress)
    try:
        size = options.piece_rows
        if size is None:
            resumed = at_once(engine, table, inputs, options, tally)
        else:
            resumed = in_pieces(engine, table, inputs, options, tally, size=size)
    finally:
        inputs.close()
    return tally.result(len(inputs), resumed)

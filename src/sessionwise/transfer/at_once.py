"""A load in one transaction: all of its rows are stored, or none."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from sessionwise.errors import CommitUnknownError
from sessionwise.session import Session
from sessionwise.transfer.checkpoint import Checkpoints, patient
from sessionwise.transfer.options import PIECE_ROWS
from sessionwise.transfer.pieces import cut, whole
from sessionwise.transfer.rejects_file import RejectsFile
from sessionwise.transfer.tally import send

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sqlalchemy import Engine, Table

    from sessionwise.bulk.result import BulkProgress
    from sessionwise.transfer.inputs import Inputs
    from sessionwise.transfer.options import LoadOptions
    from sessionwise.transfer.pieces import Piece
    from sessionwise.transfer.tally import Tally

__all__ = ["at_once"]


def at_once(
    engine: Engine, table: Table, inputs: Inputs, options: LoadOptions, tally: Tally
) -> int:
    """Load all files in one transaction; return how many rows were stored before: none."""
    Checkpoints(engine, table, options).refuse_unfinished(inputs.all)
    rejects = None if options.rejects is None else RejectsFile(options.rejects, inputs)
    if rejects is not None:
        rejects.begin()
    commits = False
    try:
        with (
            closing(_pieces(inputs, options)) as pieces,
            Session(engine, audit=options.audit) as session,
        ):
            patient(session.connection(bind_arguments={"clause": table}))
            for piece in pieces:
                stored = send(
                    session,
                    table,
                    piece,
                    options,
                    rejected=tally.counts["rejected"],
                    progress=_progress(piece, tally) if piece.is_whole else None,
                )
                if rejects is not None and stored.rejected:
                    rejects.append(piece, stored.rejected)
                tally.add(stored)
            commits = True
            session.commit()
    except BaseException as error:
        is_known = isinstance(error, Exception) and not isinstance(error, CommitUnknownError)
        if is_known or not commits:
            error.add_note("Nothing of this load is stored")
            if rejects is not None:
                rejects.remove()
        elif not isinstance(error, Exception):
            error.add_note("It was being committed: look whether its rows are stored")
        raise
    finally:
        if rejects is not None:
            rejects.close()
    return 0


def _pieces(inputs: Inputs, options: LoadOptions) -> Generator[Piece, None, None]:
    for one in inputs:
        # Two rows of one key are found where an upsert has all rows of a file before it.
        yield from whole(inputs, one) if options.upsert else cut(inputs, one, PIECE_ROWS)


def _progress(piece: Piece, tally: Tally) -> Callable[[BulkProgress], object]:
    return lambda progress: tally.tell(piece, progress.rows)

"""What has become of the rows of a load so far."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sessionwise.errors import BulkInputError
from sessionwise.transfer.options import LoadProgress, LoadResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Table

    from sessionwise.bulk.result import BulkProgress, BulkResult, Rejected
    from sessionwise.session import Session
    from sessionwise.transfer.options import LoadOptions
    from sessionwise.transfer.pieces import Piece

__all__ = ["Stored", "Tally", "send"]


@dataclass(frozen=True)
class Stored:
    """What has become of the rows of a piece."""

    piece: Piece
    result: BulkResult

    @property
    def rejected(self) -> list[Rejected]:
        """The rows that could not be stored."""
        return self.result.rejected

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each kind, by the names of the checkpoint's columns."""
        result, rejected = self.result, len(self.rejected)
        return {
            "read": result.read,
            "stored": result.inserted,
            "updated": result.updated,
            "skipped": result.skipped,
            "rejected": rejected,
        }


class Tally:
    """Adds up what has become of the pieces, and tells whoever wants to know."""

    def __init__(self, progress: Callable[[LoadProgress], object] | None) -> None:
        self.counts = dict.fromkeys(("read", "stored", "updated", "skipped", "rejected"), 0)
        self._writer = ""
        self._progress = progress
        self._fraction: float | None = None
        self._began = time.monotonic()

    def add(self, stored: Stored) -> None:
        """Add a piece."""
        for name, count in stored.counts.items():
            self.counts[name] += count
        self._writer = stored.result.writer
        self.tell(stored.piece, 0)

    def tell(self, piece: Piece, rows: int) -> None:
        """Tell how far the load has come.

        :param rows: how many of a piece have been sent, and are not counted yet.
        """
        fraction = piece.fraction()
        if fraction is not None:
            self._fraction = max(fraction, self._fraction or 0)
        if self._progress is not None:
            self._progress(
                LoadProgress(
                    read=self.counts["read"] + rows,
                    stored=self.stored,
                    rejected=self.counts["rejected"],
                    skipped=self.counts["skipped"],
                    seconds=time.monotonic() - self._began,
                    fraction=self._fraction,
                    file=piece.input.label,
                )
            )

    @property
    def stored(self) -> int:
        """Rows that have been inserted or updated."""
        return self.counts["stored"] + self.counts["updated"]

    def result(self, files: int, resumed: int) -> LoadResult:
        """Return what the load has done."""
        return LoadResult(
            files=files,
            read=self.counts["read"],
            inserted=self.counts["stored"],
            updated=self.counts["updated"],
            skipped=self.counts["skipped"],
            rejected=self.counts["rejected"],
            resumed=resumed,
            seconds=time.monotonic() - self._began,
            writer=self._writer,
        )


def send(
    session: Session,
    table: Table,
    piece: Piece,
    options: LoadOptions,
    *,
    rejected: int,
    progress: Callable[[BulkProgress], object] | None = None,
) -> Stored:
    """Send the rows of a piece in the session's transaction.

    :param rejected: how many rows the load has rejected before.
    :param progress: called as rows are sent.
    """
    how: dict[str, Any] = {"progress": progress}
    if options.rejects is not None:
        how["on_error"] = "reject"
        if options.max_errors is not None:
            how["max_errors"] = max(0, options.max_errors - rejected)
    try:
        if options.upsert:
            result = session.bulk_upsert(table, piece, keys=options.keys or None, **how)
        else:
            result = session.bulk_insert(table, piece, **how)
    except BulkInputError as error:
        if rejected:
            error.add_note(
                f"Before these rows {rejected:,} were rejected; all rows of a load are counted"
            )
        raise
    return Stored(piece, result)

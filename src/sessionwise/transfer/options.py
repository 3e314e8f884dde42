"""What a load is asked for, how far it has come, and what it has done."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sessionwise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sessionwise.audit import Audit

__all__ = ["PIECE_ROWS", "LoadOptions", "LoadProgress", "LoadResult", "checked"]

PIECE_ROWS = 50_000
"""Rows that are in memory at a time; and in a transaction, where a load has several."""


@dataclass(frozen=True)
class LoadOptions:
    """How files are loaded."""

    keys: tuple[str, ...] = ()
    """What a row is known by, for an upsert: a unique key's columns; by itself the primary key."""
    upsert: bool = False
    """Update the rows whose key is there already."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """Columns of the files, and what they are called in the table; ``""`` leaves one out."""
    rejects: Path | None = None
    """Where the rows go that cannot be stored; None: the first such row stops the load.

    A name that ends in ``.jsonl`` makes it JSON Lines, any other one CSV.
    """
    max_errors: int | None = None
    """How many rejected rows the whole load may have."""
    commit_every: int | None = None
    """Rows of a transaction; None: one transaction for all files."""
    resume: bool = False
    """Go on after what an earlier load has stored, which was killed, or failed."""
    jobs: int = 1
    """How many connections store pieces at the same time, in no order."""
    restart: bool = False
    """Forget how far an earlier load came; the rows that it has stored stay."""
    audit: Audit | None = None
    """What records the rows that are stored, as of who is at work."""

    @property
    def piece_rows(self) -> int | None:
        """Rows of a transaction; None where there is one for everything."""
        if self.commit_every is None and (self.resume or self.jobs > 1):
            return PIECE_ROWS
        return self.commit_every


@dataclass(frozen=True)
class LoadProgress:
    """How far a load has come."""

    read: int
    """Rows that have been sent, or rejected."""
    stored: int
    """Rows that have been inserted or updated."""
    rejected: int
    """Rows that could not be stored."""
    skipped: int
    """Rows that were left out, because nothing was to be changed."""
    seconds: float
    """Since it began."""
    fraction: float | None
    """How much of the bytes of all files has been read; None where nobody knows their size."""
    file: str
    """The file that these rows are of."""


@dataclass(frozen=True)
class LoadResult:
    """What a load has done; ``read == inserted + updated + skipped + rejected``."""

    files: int
    """How many files there were."""
    read: int
    """Rows that this load has read and not found stored already."""
    inserted: int
    """Rows that are new in the table."""
    updated: int
    """Rows that were there, and have been changed."""
    skipped: int
    """Rows that were there, and have not been changed."""
    rejected: int
    """Rows that could not be stored, and are in the reject file."""
    resumed: int
    """Rows that another load of the same files had stored."""
    seconds: float
    """How long it took."""
    writer: str
    """Which writer has sent the rows; empty where none was needed."""


def checked(options: LoadOptions) -> LoadOptions:
    """Return options that fit together.

    :raises OptionError: where they do not.
    """
    for name, least in (("commit_every", 1), ("jobs", 1), ("max_errors", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise OptionError(f"{name}={value!r} is not a choice; use {least} or more")
    if options.keys and not options.upsert:
        raise OptionError("keys= is for upsert=True: rows that are only inserted meet no others")
    if options.max_errors is not None and options.rejects is None:
        raise OptionError("max_errors= counts rejected rows: say by rejects= where they go")
    if options.resume and options.restart:
        raise OptionError("resume=True goes on, and restart=True begins again: choose one")
    if options.rejects is not None and not options.rejects.absolute().parent.is_dir():
        raise OptionError(
            f"rejects={str(options.rejects)!r} is in no directory that is there; name another file"
        )
    return replace(options, rename=dict(options.rename))

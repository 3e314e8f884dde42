"""A load in pieces, each stored together with its checkpoint: killed, it can go on."""

from __future__ import annotations

import threading
import time
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from sessionwise.errors import LoadError
from sessionwise.session import Session
from sessionwise.transaction.retry import Retry
from sessionwise.transfer import jobs as jobs_
from sessionwise.transfer.checkpoint import Checkpoints
from sessionwise.transfer.pieces import cut
from sessionwise.transfer.rejects_file import RejectsFile
from sessionwise.transfer.tally import send

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    from sqlalchemy import Engine, Table

    from sessionwise.transfer.inputs import Inputs
    from sessionwise.transfer.options import LoadOptions
    from sessionwise.transfer.pieces import Piece
    from sessionwise.transfer.tally import Stored, Tally

__all__ = ["in_pieces"]

_RETRY = Retry(attempts=10)
"""Pieces that are stored at the same time may deadlock."""


def in_pieces(
    engine: Engine,
    table: Table,
    inputs: Inputs,
    options: LoadOptions,
    tally: Tally,
    *,
    size: int,
) -> int:
    """Load all files in pieces; return how many rows another load had stored.

    :param size: rows of a piece.
    """
    checkpoints = Checkpoints(engine, table, options)
    rejects = None if options.rejects is None else RejectsFile(options.rejects, inputs)
    if rejects is not None and not options.resume:
        rejects.begin()
    checkpoints.create()
    checkpoints.begin(inputs.all, size)
    try:
        if rejects is not None and options.resume:
            rejects.go_on(_is_stored(checkpoints, inputs))
        pieces = _Pieces(engine, table, checkpoints, options, rejects=rejects, inputs=inputs)
        jobs = 1 if _is_in_memory(engine) else options.jobs
        with closing(jobs_.work(pieces.cut(inputs), pieces.store, jobs)) as found:
            for stored in found:
                if stored is not _TAKEN:
                    tally.add(stored)
        before = checkpoints.stored() - tally.stored
        checkpoints.finish()
    except BaseException as error:
        _say_what_is_stored(error, checkpoints)
        raise
    finally:
        if rejects is not None:
            rejects.close()
    return before


_TAKEN: Any = object()
"""Stands for a piece that another process has stored."""


class _AgainError(Exception):
    """A piece is to be stored once more."""


class _Pieces:
    """Stores pieces, in one thread or in several."""

    def __init__(
        self,
        engine: Engine,
        table: Table,
        checkpoints: Checkpoints,
        options: LoadOptions,
        *,
        rejects: RejectsFile | None,
        inputs: Inputs,
    ) -> None:
        self._engine = engine
        self._table = table
        self._checkpoints = checkpoints
        self._options = options
        self._rejects = rejects
        self._rejected = sum(checkpoints[one].rejected for one in inputs)
        self._ending = threading.Lock()
        """Held from the first rejected row that is written until the rows are committed."""
        self._turn: AbstractContextManager[Any] = nullcontext()
        if engine.dialect.name == "sqlite":
            self._turn = threading.Lock()  # there is one writer

    def cut(self, inputs: Inputs) -> Generator[Piece, None, None]:
        """Give the pieces that are still to be stored."""
        for one in inputs:
            state = self._checkpoints[one]
            if not state.finished:
                yield from cut(inputs, one, state.size, state.done)

    def store(self, piece: Piece) -> Stored:
        """Store a piece; again, where it has met another one on its way."""
        began, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            try:
                with self._turn:
                    return self._store(piece)
            except _AgainError:
                continue
            except DBAPIError as error:
                elapsed = time.monotonic() - began
                wait = _RETRY.delay(error, attempt, elapsed, self._engine.dialect)
                if wait is None:
                    raise
            time.sleep(wait)

    def _store(self, piece: Piece) -> Stored:
        with Session(self._engine, audit=self._options.audit) as session:
            if not self._checkpoints.claim(session, piece.input, piece.number):
                taken: Stored = _TAKEN
                return taken
            stored = send(session, self._table, piece, self._options, rejected=self._rejected)
            self._checkpoints.complete(session, piece.input, piece.number, stored.counts)
            piece.check()
            if stored.rejected and self._rejects is not None:
                self._commit_with_rejects(session, stored, self._rejects)
            else:
                session.commit()
        return stored

    def _commit_with_rejects(self, session: Session, stored: Stored, rejects: RejectsFile) -> None:
        with self._ending:
            self._check_number(stored)
            commits = False
            try:
                rejects.append(stored.piece, stored.rejected)
                commits = True
                session.commit()
            except BaseException:
                # Of a commit nobody knows; whoever goes on looks for the checkpoint.
                if not commits:
                    rejects.undo()
                raise
            self._rejected += len(stored.rejected)

    def _check_number(self, stored: Stored) -> None:
        """See to it that pieces which were on their way together do not reject too many.

        :raises _AgainError: where they do: with what is known now, the verb itself refuses them.
        """
        allowed = self._options.max_errors
        if allowed is not None and self._rejected + len(stored.rejected) > allowed:
            raise _AgainError


def _is_stored(checkpoints: Checkpoints, inputs: Inputs) -> Any:
    by_name = {one.label: checkpoints[one] for one in inputs}
    only = by_name[inputs.all[0].label] if len(inputs) == 1 else None

    def is_stored(name: str, position: int) -> bool:
        state = only or by_name.get(name)
        if state is None:
            raise LoadError(
                f"the reject file has rows of {name}, which is not loaded now: name the same files"
            )
        return state.finished or position // state.size in state.done

    return is_stored


def _is_in_memory(engine: Engine) -> bool:
    """Say whether a database is seen by one thread only."""
    return engine.dialect.name == "sqlite" and engine.url.database in {None, "", ":memory:"}


def _say_what_is_stored(error: BaseException, checkpoints: Checkpoints) -> None:
    try:
        stored = checkpoints.stored()
    except DBAPIError:
        error.add_note(
            "What is stored of this load, the database knows; resume=True goes on after it"
        )
        return
    error.add_note(f"{stored:,} rows of this load are stored; resume=True goes on after them")

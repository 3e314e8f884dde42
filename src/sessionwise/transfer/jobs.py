"""Several threads that work on pieces, which one thread reads: never many of them in memory."""

from __future__ import annotations

import queue
import threading
from contextlib import closing
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from sessionwise.transfer.pieces import Piece

__all__ = ["StoppedError", "work"]

_T = TypeVar("_T")

_SECONDS = 0.1
"""Between two looks at whether all is to stop."""


class StoppedError(Exception):
    """The load stops, and a piece that is on its way is given up."""


def work(
    pieces: Generator[Piece, None, None], store: Callable[[Piece], _T], jobs: int
) -> Generator[_T, None, None]:
    """Give what ``store`` returns for each piece, in no order.

    The first error stops all: pieces that are on their way are rolled back, and no thread is left.
    So does whatever ends the caller's loop.

    :param jobs: how many pieces are stored at the same time; one by one in the caller's thread.
    """
    if jobs == 1:
        with closing(pieces):
            yield from map(store, pieces)
        return
    threads = _Threads(pieces, store, jobs)
    try:
        threads.start()
        yield from threads.results()
    finally:
        threads.stop()


class _Threads(Generic[_T]):
    """A reader, and workers that it hands its pieces to."""

    def __init__(
        self, pieces: Generator[Piece, None, None], store: Callable[[Piece], _T], jobs: int
    ) -> None:
        self._pieces = pieces
        self._store = store
        self._stopped = threading.Event()
        self._waiting: queue.Queue[Piece | None] = queue.Queue(maxsize=1)
        self._found: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = (
            queue.SimpleQueue()
        )
        self._jobs = jobs
        self._threads = [threading.Thread(target=self._read, name="load-reader")]
        # Who is at work in the caller's thread is at work in these.
        self._threads += [
            threading.Thread(target=copy_context().run, args=(self._work,), name=f"load-{number}")
            for number in range(jobs)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def results(self) -> Iterator[_T]:
        """Give the results until all threads have ended.

        :raises BaseException: the first that any of them has met.
        """
        ended = 0
        error: BaseException | None = None
        while ended < len(self._threads):
            result, failed = self._found.get()
            if isinstance(failed, StoppedError):
                ended += 1
            elif failed is not None:
                error = error or failed
            elif result is not None:
                yield result
        if error is not None:
            raise error

    def stop(self) -> None:
        """Stop all threads, and wait for them."""
        self._stopped.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _check(self) -> None:
        if self._stopped.is_set():
            raise StoppedError

    def _read(self) -> None:
        with _Telling(self), closing(self._pieces):
            for piece in self._pieces:
                piece.check = self._check
                self._hand_over(piece)
            for _ in range(self._jobs):
                self._hand_over(None)

    def _hand_over(self, piece: Piece | None) -> None:
        while True:
            self._check()
            try:
                return self._waiting.put(piece, timeout=_SECONDS)
            except queue.Full:
                continue

    def _work(self) -> None:
        with _Telling(self):
            while (piece := self._next()) is not None:
                self._found.put((self._store(piece), None))

    def _next(self) -> Piece | None:
        while True:
            self._check()
            try:
                return self._waiting.get(timeout=_SECONDS)
            except queue.Empty:
                continue

    def tell(self, error: BaseException | None) -> None:
        """Tell the caller that a thread ends, and what it has met; then the others end, too."""
        if error is not None and not isinstance(error, StoppedError):
            self._stopped.set()
            self._found.put((None, error))
        self._found.put((None, StoppedError()))


class _Telling:
    """A thread's whole run: however it ends, the caller is told."""

    def __init__(self, threads: _Threads[Any]) -> None:
        self._threads = threads

    def __enter__(self) -> None:
        pass

    def __exit__(self, _class: object, error: BaseException | None, _traceback: object) -> bool:
        self._threads.tell(error)
        return True

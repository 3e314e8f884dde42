"""Let whatever ends a command end it as Ctrl-C does: by an exception, so that it cleans up."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["INTERRUPTED", "ending_by_exception"]

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as shells count it."""

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@contextmanager
def ending_by_exception() -> Iterator[threading.Event]:
    """Raise KeyboardInterrupt at the first signal to end, and finish the clean-up at the next.

    Only the main thread may set handlers; in another one nothing changes. It gives an event, which
    says whether there was a signal: what a driver makes of the exception may be another one.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def end(_number: int, _frame: Any) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        asked.set()
        raise KeyboardInterrupt

    for number in _SIGNALS:
        signal.signal(number, end)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

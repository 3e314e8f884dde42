"""Start the command: ``sessionwise`` and ``python -m sessionwise.cli`` both come here."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from sessionwise.cli.interrupt import INTERRUPTED

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name."""
    try:
        from sessionwise.cli.app import app
    except ModuleNotFoundError as missing:
        package = str(missing.name).partition(".")[0]
        if "--debug" in sys.argv or package not in {"typer", "rich"}:
            raise
        sys.stderr.write(
            f"sessionwise: its commands need {package}; run: pip install 'sessionwise[cli]'\n"
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    try:
        app(prog_name="sessionwise")
    except SystemExit as end:
        _end(end.code if isinstance(end.code, int) else 0)


def _end(code: int) -> NoReturn:
    """End the process at once.

    Everything has been closed by its own block. Threads of pyarrow's that come back from reading
    while the interpreter is taken down would wait for it, or end the process by a signal.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:  # whoever has read it wanted no more
        code = code or 1
    except OSError as error:
        os.write(2, f"sessionwise: the output could not be written: {error.strerror}\n".encode())
        code = 2
    os._exit(code)


if __name__ == "__main__":
    main()

"""Start the command: ``sessionwise`` and ``python -m sessionwise.cli`` both come here."""

from __future__ import annotations

import sys

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
    app(prog_name="sessionwise")


if __name__ == "__main__":
    main()

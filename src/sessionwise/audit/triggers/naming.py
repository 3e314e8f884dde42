"""Names of triggers, and the digest that stands in a comment of their bodies."""

from __future__ import annotations

import hashlib
import re

from sessionwise.audit.triggers.artifact import MARK, digest

__all__ = ["PREFIX", "comment", "name_of", "noted"]

PREFIX = "sessionwise_audit_"
"""How all of them begin."""

_LONGEST = 64
"""How long a name may be on MariaDB, in characters."""

_COMMENT = re.compile(rf"/\* {re.escape(MARK)}([0-9a-f]{{16}}) \*/\n?")


def name_of(*words: str) -> str:
    """Return the name of something of ours; a long one ends in a hash."""
    name = PREFIX + "_".join(words)
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def comment(noted: str) -> str:
    """Return the comment that notes a digest."""
    return f"/* {MARK}{noted} */\n"


def noted(made: str) -> str | None:
    """Return the digest that is noted in what was made; None: it is not that of its body."""
    found = _COMMENT.search(made)
    if found is None or found[1] != digest(_COMMENT.sub("", made)):
        return None
    return found[1]

"""What a run with our classes means: which tests diverge, and whether each is accounted for."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

MOST_REASONS = 10


@dataclass(frozen=True)
class Listed:
    """The divergences that are accounted for."""

    reasons: dict[str, str]
    """Reason by test function."""
    enumerations: frozenset[str]

    @classmethod
    def load(cls, *paths: Path) -> Listed:
        reasons: dict[str, str] = {}
        enumerations: set[str] = set()
        for path in paths:
            document = tomllib.loads(path.read_text())
            divergences = document.get("divergence", [])
            if len(divergences) > MOST_REASONS:
                raise ValueError(
                    f"{path.name}: {len(divergences)} reasons, at most {MOST_REASONS}"
                )
            reasons |= {test: entry["reason"] for entry in divergences for test in entry["tests"]}
            enumerations.update(document.get("enumerations", []))
        return cls(reasons, frozenset(enumerations))


@dataclass(frozen=True)
class Verdict:
    """What the divergences of one run come to."""

    by_reason: dict[str, set[str]]
    enumerations: set[str]
    unexplained: set[str]


def function(test: str) -> str:
    """Return a test's function without its database and parameters.

    >>> function("test/orm/test_bind.py::GetBindTest_sqlite+pysqlite_3_40_1::test_a[x-y]")
    'test/orm/test_bind.py::GetBindTest::test_a'
    """
    path, *names = test.partition("[")[0].split("::")
    return "::".join([path, *(re.sub(r"_[^_+]+\+.*$", "", name) for name in names)])


def judge(diverging: set[str], listed: Listed) -> Verdict:
    """Sort the tests that pass with SQLAlchemy's classes and not with ours."""
    by_reason: dict[str, set[str]] = {}
    enumerations, unexplained = set(), set()
    for test in map(function, diverging):
        if test in listed.enumerations:
            enumerations.add(test)
        elif test in listed.reasons:
            by_reason.setdefault(listed.reasons[test], set()).add(test)
        else:
            unexplained.add(test)
    return Verdict(by_reason, enumerations, unexplained)


def stale(verdicts: list[Verdict], listed: Listed) -> set[str]:
    """Return what is listed and diverges nowhere."""
    found: set[str] = set()
    for verdict in verdicts:
        found.update(verdict.enumerations, *verdict.by_reason.values())
    return (listed.reasons.keys() | listed.enumerations) - found

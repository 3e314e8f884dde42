"""SQLAlchemy's source distribution, and one run of its tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
BUILD = ROOT / "build" / "dropin"

ORM = ("test/orm", "test/ext/asyncio")
ASYNC = ("test/ext/asyncio",)
"""With an async driver the rest of the suite is skipped, with a sync one most of these are."""

RAN_TO_THE_END = (0, 1)
"""pytest's status where all passed, or some failed; others mean that not all was run."""


@dataclass(frozen=True)
class Outcomes:
    """What one run found."""

    by_test: dict[str, str]
    """``passed``, ``failed`` or ``skipped``, by pytest's node id."""
    created: dict[str, int]
    """Sessions of ours that were made, by class."""
    log: Path

    def tests(self, outcome: str) -> set[str]:
        return {test for test, found in self.by_test.items() if found == outcome}


def sources() -> Path:
    """Return the folder of the source distribution of the SQLAlchemy that is installed."""
    name = f"sqlalchemy-{version('sqlalchemy')}"
    folder = BUILD / name
    if not folder.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        download += ["--no-binary", "sqlalchemy", "--dest", str(BUILD), name.replace("-", "==")]
        subprocess.run(download, check=True)
        with (
            tarfile.open(BUILD / f"{name}.tar.gz") as archive,
            tempfile.TemporaryDirectory(dir=BUILD) as unpacked,
        ):
            archive.extractall(unpacked, filter="data")
            (Path(unpacked) / name).rename(folder)  # at once: half of it would pass for all
    return folder


def run(
    name: str,
    uri: str,
    paths: tuple[str, ...],
    *,
    ours: dict[str, Any] | None = None,
    without: set[str] | None = None,
) -> Outcomes:
    """Run SQLAlchemy's tests against a database, with our classes or with its own.

    :param ours: the options of our sessions; None: with SQLAlchemy's own classes.
    :param without: the tests to leave out.
    :raises RuntimeError: if the run did not come to its end.
    """
    folder, label = sources(), f"{name}-{'plain' if ours is None else 'ours'}"
    outcomes, log = BUILD / f"{label}.json", BUILD / f"{label}.log"
    outcomes.unlink(missing_ok=True)
    environment = os.environ | {"DROPIN_OUTCOMES": str(outcomes), "PYTHONPATH": str(ROOT)}
    # The SQLAlchemy that is installed is tested, not the sources beside the tests. Python's -s
    # would say so to the first process only, not to the workers of pytest-xdist.
    environment["PYTHONNOUSERSITE"] = "1"
    environment.pop("CI", None)  # what SQLAlchemy's suite does differently there is not for us
    if ours is not None:
        environment["DROPIN_OURS"] = json.dumps(ours)
    if without is not None:
        left_out = BUILD / f"{label}.without"
        left_out.write_text("\n".join(sorted(without)))
        environment["DROPIN_WITHOUT"] = str(left_out)
    command = [sys.executable, "-m", "pytest", "-p", "tests.dropin.plugin", *paths]
    command += ["--dburi", uri, "-n", str(os.cpu_count()), "-q", "--maxfail", "100000"]
    print(f"{label}: running, log in {log.relative_to(ROOT)}", flush=True)
    started = time.monotonic()
    with log.open("w") as output:
        status = subprocess.run(
            command, cwd=folder, env=environment, stdout=output, stderr=output, check=False
        ).returncode
    if status not in RAN_TO_THE_END or not outcomes.exists():
        raise RuntimeError(f"{label} ended with {status}:\n{log.read_text()[-3000:]}")
    document = json.loads(outcomes.read_text())
    found = Outcomes(document["outcomes"], document["created"], log)
    passed, failed = len(found.tests("passed")), len(found.tests("failed"))
    seconds = time.monotonic() - started
    print(f"{label}: {passed} passed, {failed} failed in {seconds:.0f} s", flush=True)
    return found

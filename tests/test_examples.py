"""The examples of the guide's techniques hold what they assert, on each kind of database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect

from tests.backends import OBSERVERS

EXAMPLES = sorted((Path(__file__).parent.parent / "examples" / "guide").glob("[0-9]*.py"))


def test_there_are_examples() -> None:
    assert [path.stem for path in EXAMPLES] == [
        "01_scoped_session",
        "02_events_and_audit",
        "03_bulk_insert",
        "04_merge",
        "05_expunge",
        "06_refresh",
        "07_raw_sql",
        "08_get",
        "09_autoflush",
        "10_identity_map",
        "11_savepoint",
        "12_connection",
    ]


def run(example: Path, **environment: str) -> None:
    command = [sys.executable, "-W", "error", str(example)]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_holds(example: Path, server_url: Any) -> None:
    url = server_url.set(drivername=OBSERVERS[server_url.get_backend_name()])
    run(example, DATABASE_URL=url.render_as_string(hide_password=False))
    engine = create_engine(url)
    left_behind = [name for name in inspect(engine).get_table_names() if "guide" in name]
    engine.dispose()
    assert left_behind == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_holds_without_a_server(example: Path) -> None:
    run(example, DATABASE_URL="sqlite://")

"""A database, a folder, and the commands ``load`` and ``dump`` in processes of their own.

Also a database for ``load`` in the process of the test.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from sessionwise.cli.urls import checked_url
from sessionwise.transfer.checkpoint import TABLE
from tests.backends import OBSERVERS

COMMAND = [sys.executable, "-m", "sessionwise.cli"]
CSV = (
    "id,zip,price,paid,day,at,moment,note\n"
    "1,007,1.5,true,2024-02-29,2024-01-01 10:00:00.5,2024-01-01 00:00:00+00,é\n"
    "2,10115,-0.25,false,,2024-01-02 10:00:00,2024-06-01 02:00:00+00,\n"
)

Done = subprocess.CompletedProcess[str]


class Shop:
    """A database with a table of its own, and the commands on it."""

    def __init__(self, url: Any, folder: Path) -> None:
        self.url = url.render_as_string(hide_password=False)
        self.backend = url.get_backend_name()
        self.folder = folder
        self.table = f"shop_{secrets.token_hex(4)}"
        self.engine = sa.create_engine(checked_url(self.url))

    def write(self, name: str, data: str | bytes) -> str:
        path = self.folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return str(path)

    def numbers(self, name: str, count: int) -> str:
        """Write a file with one column, ``id``."""
        return self.write(name, "id\n" + "\n".join(map(str, range(count))) + "\n")

    def run(self, *arguments: str, **options: Any) -> Done:
        return subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True,
            check=False,
            encoding="utf-8",
            timeout=100,
            **options,
        )

    def load(self, *arguments: str, **options: Any) -> Done:
        return self.run(*self.loading(*arguments), **options)

    def loading(self, *arguments: str) -> list[str]:
        return ["load", "--into", self.url, "--table", self.table, *arguments]

    def dump(self, *arguments: str, **options: Any) -> Done:
        return self.run("dump", "--from", self.url, *arguments, **options)

    def count(self) -> int:
        with self.engine.connect() as connection:
            found: Any = connection.scalar(sa.text(f"SELECT count(*) FROM {self.table}"))
        return int(found)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(one) for one in connection.execute(sa.text(statement))]

    def execute(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement))


AnyShop = TypeVar("AnyShop", bound=Shop)


@contextmanager
def opened(url: Any, folder: Path, make: type[AnyShop]) -> Iterator[AnyShop]:
    """Give a shop, and drop its table."""
    shop = make(url, folder)
    yield shop
    shop.execute(f"DROP TABLE IF EXISTS {shop.table}")
    shop.engine.dispose()


@contextmanager
def loadable(url: Any, folder: Path, table: sa.Table) -> Iterator[sa.Engine]:
    """Give an engine whose database has a table, empty, and no checkpoints; they go again."""
    backend = url.get_backend_name()
    url = url.set(drivername=OBSERVERS[backend])
    if backend == "sqlite":
        url = url.set(database=str(folder / "load.db"))
    engine = sa.create_engine(url)
    remove(engine, table)
    table.create(engine)
    yield engine
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    remove(engine, table)
    engine.dispose()


def remove(engine: sa.Engine, table: sa.Table) -> None:
    for one in (TABLE, table):
        one.drop(engine, checkfirst=True)


def values_of(engine: sa.Engine, column: sa.Column[Any], order: Any = None) -> list[Any]:
    """Return what a column has, in its own order or that of another."""
    with engine.connect() as connection:
        by = column if order is None else order
        return list(connection.scalars(sa.select(column).order_by(by)))


def told(done: Done) -> str:
    """Return the one line of an error of the input."""
    assert (done.returncode, done.stdout) == (2, ""), done
    (line,) = (one for one in done.stderr.splitlines() if "rows/s" not in one)  # its progress
    assert line.startswith("sessionwise: ")
    return line.removeprefix("sessionwise: ")


def is_well(done: Done) -> Done:
    assert done.returncode == 0, done
    assert all("rows/s" in line for line in done.stderr.splitlines()), done  # its progress
    return done

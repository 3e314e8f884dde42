"""The databases that the cases run on: the ones of the tests, each by its ordinary driver."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from tests import servers

DATABASES = {
    "sqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "mariadb": "mariadb+pymysql",
}


@contextmanager
def database(name: str) -> Iterator[Callable[[], Engine]]:
    """Give what makes engines on a database of its own, which is gone at the end."""
    with server(name) as url, ExitStack() as stack:

        def new_engine() -> Engine:
            engine = create_engine(url.set(drivername=DATABASES[name]))
            stack.callback(engine.dispose)
            if name == "sqlite":
                event.listen(engine, "connect", _without_waiting_for_the_disk)
            return engine

        yield new_engine


@contextmanager
def server(name: str) -> Iterator[URL]:
    if name == "sqlite":
        with tempfile.TemporaryDirectory() as directory:
            yield make_url(f"sqlite:///{Path(directory) / 'benchmark.db'}")
    else:
        start = servers.postgresql if name == "postgresql" else servers.mariadb
        with start() as url:
            yield url


def _without_waiting_for_the_disk(connection: Any, _record: object) -> None:
    # As the servers are run for tests: what is measured is the session, not the disk.
    connection.execute("PRAGMA synchronous = OFF")

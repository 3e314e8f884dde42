"""The databases that the cases run on: the ones of the tests, each by its ordinary driver."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, create_engine, event, make_url
from tests import servers

DATABASES = {
    "sqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "mariadb": "mariadb+pymysql",
}


@contextmanager
def database(name: str) -> Iterator[Engine]:
    """Give an engine on a database of its own, which is gone at the end."""
    with server(name) as url:
        engine = create_engine(url.set(drivername=DATABASES[name]))
        if name == "sqlite":
            event.listen(engine, "connect", _without_waiting_for_the_disk)
        yield engine
        engine.dispose()


@contextmanager
def server(name: str) -> Iterator[object]:
    if name == "sqlite":
        with tempfile.TemporaryDirectory() as directory:
            yield make_url(f"sqlite:///{Path(directory) / 'benchmark.db'}")
    else:
        start = servers.postgresql if name == "postgresql" else servers.mariadb
        with start() as url:
            yield url


def _without_waiting_for_the_disk(connection: object, _record: object) -> None:
    # As the servers are run for tests: what is measured is the session, not the disk.
    connection.execute("PRAGMA synchronous = OFF")  # type: ignore[attr-defined]

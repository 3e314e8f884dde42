"""Each behaviour test runs on every driver; a missing server is a skip, in CI a failure."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url

from tests import servers
from tests.backends import DRIVERS, Database, Driver, create_tables
from tests.library import empty
from tests.triggered import Client


@pytest.fixture(scope="session", autouse=True)
def _threads_are_not_traced() -> None:
    """Keep coverage out of the tests' own threads.

    On CPython 3.11 it may never return from a thread that ends: greenlet clears up after threads
    in a pending call, which then runs coverage's weak references, and a traced function that is
    called from a pending call waits for the next one, forever.
    """
    threading.settrace(None)


class Servers:
    """The database servers, each started when first asked for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = ExitStack()
        self._urls: dict[str, Any] = {}
        self._observers: dict[str, Engine] = {}

    def url(self, server: str) -> Any:
        if server not in self._urls:
            try:
                self._urls[server] = self._start(server)
            except servers.ServerUnavailable as unavailable:
                self._urls[server] = unavailable
        url = self._urls[server]
        if isinstance(url, servers.ServerUnavailable):
            (pytest.fail if os.environ.get("CI") else pytest.skip)(str(url))
        return url

    def observer(self, server: str) -> Engine:
        if server not in self._observers:
            observer = create_tables(self.url(server), server)
            self._stack.callback(observer.dispose)
            self._observers[server] = observer
        return self._observers[server]

    def stop(self) -> None:
        self._stack.close()

    def _start(self, server: str) -> Any:
        if server == "sqlite":
            return make_url(f"sqlite:///{self._directory / 'tests.db'}")
        start = servers.postgresql if server == "postgresql" else servers.mariadb
        return self._stack.enter_context(start())


@pytest.fixture(scope="session")
def database_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    running = Servers(tmp_path_factory.mktemp("sqlite"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session", params=DRIVERS, ids=lambda driver: driver.name)
def database(
    request: pytest.FixtureRequest, database_servers: Servers, runner: asyncio.Runner
) -> Iterator[Database]:
    driver: Driver = request.param
    url = database_servers.url(driver.server)
    observer = database_servers.observer(driver.server)
    database = Database(driver, url, observer, runner if driver.is_async else None)
    yield database
    database.dispose()


@pytest.fixture
def db(database: Database) -> Iterator[Database]:
    """Give a database by each driver in turn, its tables empty."""
    database.clear()
    yield database
    assert database.sync_engine.pool.checkedout() == 0, "a connection was left checked out"  # type: ignore[attr-defined]


@pytest.fixture
def library(db: Database) -> Database:
    """Give a database by each driver in turn, the tables of ``tests.library`` empty."""
    empty(db)
    return db


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def server_url(request: pytest.FixtureRequest, database_servers: Servers) -> Any:
    """Give the URL of each kind of database in turn, without a driver."""
    return database_servers.url(request.param)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Give a directory on a disk with one megabyte, which servers can see, too."""
    disk = Path(tempfile.mkdtemp(prefix="sessionwise-small-"))
    disk.chmod(0o755)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0777", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        disk.rmdir()
        pytest.skip("only root may mount a disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
    disk.rmdir()


@pytest.fixture
def raw(engine: Engine) -> Iterator[Client]:
    """Give a client of the driver alone, on the database that a module's own ``engine`` gives."""
    with Client(engine) as client:
        yield client

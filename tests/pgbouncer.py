"""A PgBouncer before a PostgreSQL, where clients take turns on its connections."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from tests.servers import SECONDS_TO_START, ServerUnavailable

CONFIGURATION = """
[databases]
pooled = {server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
logfile = {directory}/log
pidfile = {directory}/pid
ignore_startup_parameters = extra_float_digits
"""


@contextmanager
def pgbouncer(server: URL, connections: int = 1) -> Iterator[URL]:
    """Give the URL of a PgBouncer before a server, with so many connections to it."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    program = shutil.which("pgbouncer", path=search)
    if program is None:
        raise ServerUnavailable(
            "PgBouncer: put pgbouncer on the PATH (Debian's package pgbouncer)"
        )
    host = server.host or str(server.query.get("host"))
    # It does not run as root; and where the server is a socket, as who may open that.
    user = None if os.geteuid() else "nobody"
    if user is not None and host.startswith("/"):
        user = Path(host).owner()
    directory = Path(tempfile.mkdtemp(prefix="sessionwise-pgbouncer-"))
    try:
        port = _free_port()
        configuration = directory / "pgbouncer.ini"
        configuration.write_text(
            CONFIGURATION.format(
                server=_server(server, host),
                port=port,
                connections=connections,
                directory=directory,
            )
        )
        if user is not None:
            shutil.chown(directory, user)
        process = subprocess.Popen(
            [program, "-q", str(configuration)],
            user=user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _wait_for(process, port, directory / "log")
            yield URL.create("postgresql", "any", host="127.0.0.1", port=port, database="pooled")
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _server(server: URL, host: str) -> str:
    said: dict[str, Any] = {
        "host": host,
        "port": server.port or 5432,
        "dbname": server.database,
        "user": server.username,
        "password": server.password,
    }
    return " ".join(f"{name}={value}" for name, value in said.items() if value)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise ServerUnavailable(f"PgBouncer did not start: {log.read_text() if log.exists() else ''}")

"""A TCP proxy before a database server that loses a connection at the moment a test wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from sqlalchemy import URL

Loss = Literal["request", "reply"]
"""What is lost: what the client sends, or the server's answer to it."""


class Proxy:
    """Passes bytes on in both directions, until the trap closes."""

    def __init__(self, server: URL) -> None:
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._trap: tuple[bytes, Loss] | None = None
        self._goes_away = False
        self._sockets: list[socket.socket] = []
        self.sprung = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> URL:
        """The server's URL by way of this proxy."""
        query = {name: value for name, value in self._server.query.items() if name != "host"}
        return self._server.set(host="127.0.0.1", port=self.port, query=query)

    def lose(self, loss: Loss, sign: bytes = b"COMMIT", *, for_good: bool = False) -> None:
        """Lose the next message that holds ``sign``, or the answer to it, and its connection.

        :param for_good: accept no connection afterwards.
        """
        self._goes_away = for_good
        self._trap = (sign, loss)

    def cut(self) -> None:
        """Close every connection now."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    def close(self) -> None:
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self._goes_away and self.sprung.is_set():
                    client.close()
                    continue
                server = self._connect()
                self._sockets += [client, server]
                Pipe(self, client, server).start()

    def _connect(self) -> socket.socket:
        host = self._server.host or self._server.query.get("host")
        if self._server.host is None and isinstance(host, str) and host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(Path(host) / f".s.PGSQL.{self._server.port or 5432}"))
            return server
        default = 5432 if self._server.get_backend_name() == "postgresql" else 3306
        return socket.create_connection((host, self._server.port or default))

    def caught(self, message: bytes) -> Loss | None:
        """Return what is to be lost with this message; a trap closes once."""
        if self._trap is None or self._trap[0] not in message:
            return None
        _, loss = self._trap
        self._trap = None
        return loss


class Pipe:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._losing_reply = False

    def start(self) -> None:
        for pump in (self._requests, self._replies):
            threading.Thread(target=pump, daemon=True).start()

    def _requests(self) -> None:
        with suppress(OSError):
            while message := self._client.recv(65536):
                loss = self._proxy.caught(message)
                if loss == "request":
                    return self._lose()
                self._losing_reply = self._losing_reply or loss == "reply"
                self._server.sendall(message)
        return self._end()

    def _replies(self) -> None:
        with suppress(OSError):
            while message := self._server.recv(65536):
                if self._losing_reply:
                    return self._lose()
                self._client.sendall(message)
        return self._end()

    def _lose(self) -> None:
        self._proxy.sprung.set()
        self._end()

    def _end(self) -> None:
        for each in (self._client, self._server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(server: URL) -> Iterator[Proxy]:
    """Give a proxy before a server, gone at the end."""
    running = Proxy(server)
    try:
        yield running
    finally:
        running.close()

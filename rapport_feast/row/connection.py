"""A connection to one node of the online store, where everything has a deadline."""

import socket
import ssl
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import hiredis

from rapport_feast.errors import Terminal, Transient
from rapport_feast.resp import encode_command
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.script import WRITE

TRANSIENT_ERRORS = (
    *("LOADING", "OOM", "READONLY", "BUSY", "NOREPLICAS"),
    *("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN"),
)


class NodeConnection:
    """One connection to one node, where everything has a deadline."""

    def __init__(self, store: OnlineStore, address: tuple[str, int], seconds: float) -> None:
        self.store, self.reader = store, hiredis.Reader()
        with self._in_time(time.monotonic() + seconds):
            plain = socket.create_connection(address, timeout=seconds)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wrap = ssl.create_default_context().wrap_socket if store.tls else None
            self.socket = wrap(plain, server_hostname=address[0]) if wrap else plain

    def enter(self, deadline: float) -> None:
        """Log in and choose the database."""
        login = [part.encode() for part in (self.store.username, self.store.password) if part]
        if self.store.password:
            self._call(encode_command((b"AUTH", *login)), deadline)
        if self.store.db:
            self._call(encode_command((b"SELECT", b"%d" % self.store.db)), deadline)

    def load(self, deadline: float) -> None:
        """Load the script of the rows."""
        self._call(encode_command((b"SCRIPT", b"LOAD", WRITE.encode())), deadline)

    def send(self, content: memoryview | bytes, deadline: float) -> None:
        """Send commands."""
        with self._in_time(deadline) as left:
            self.socket.settimeout(left)
            self.socket.sendall(content)

    def answers(self, count: int, deadline: float) -> list[Any]:
        """Return the next answers; a fault of the server among them is an error, not raised."""
        found: list[Any] = []
        while len(found) < count:
            answer = self.reader.gets()
            if answer is not False:
                found.append(answer)
                continue
            with self._in_time(deadline) as left:
                self.socket.settimeout(left)
                received = self.socket.recv(1 << 16)
                if not received:
                    raise ConnectionResetError("it closed the connection")
            self.reader.feed(received)
        return found

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def _call(self, content: bytes, deadline: float) -> None:
        self.send(content, deadline)
        (answer,) = self.answers(1, deadline)
        if isinstance(answer, hiredis.HiredisError):
            raise server_error(self.store, answer)

    def _in_time(self, deadline: float) -> "Deadline":
        return Deadline(self.store, deadline)


@dataclass
class Deadline:
    """A block that ends before a deadline, or in the fault of a server that did not answer."""

    store: OnlineStore
    deadline: float

    def __enter__(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise self.store.silent(TimeoutError("its time was over"))
        return left

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise self.store.silent(error) from error


def server_error(store: OnlineStore, answer: Exception) -> Transient | Terminal:
    """Return what an error of the server is to the caller."""
    sentence = f"The online store at {store.host}:{store.port} did not write ({answer})."
    return (Transient if str(answer).startswith(TRANSIENT_ERRORS) else Terminal)(sentence)

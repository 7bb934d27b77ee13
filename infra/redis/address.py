"""Where the embedded server answers: a port on the loopback interface and a password."""

import socket
from dataclasses import dataclass, field

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PING_SECONDS = 2.0


@dataclass(frozen=True)
class Address:
    """Port on the loopback interface and password of the embedded server."""

    port: int
    password: str = field(repr=False)

    def client(self) -> redis.Redis:
        """Return a client for the server's own affairs, which never tries twice."""
        return redis.Redis(
            port=self.port,
            host="127.0.0.1",
            password=self.password,
            socket_timeout=PING_SECONDS,
            socket_connect_timeout=PING_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    def answers(self) -> bool:
        """Say whether the server answers, knows the password and has loaded its file."""
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

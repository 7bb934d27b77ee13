"""The address of an online store, a server that speaks Redis, in the forms of redis-py and of Feast."""

import hashlib
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rapport_feast.errors import Transient
from rapport_feast.row.keys import project_of

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
BATCH = 500


@dataclass(frozen=True)
class OnlineStore:
    """An address of the online store that has answered, and what one does with it."""

    host: str
    port: int
    project: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: bool = False
    cluster: bool = False

    @property
    def url(self) -> str:
        """The address as a URL, with the password."""
        scheme = "rediss" if self.tls else "redis"
        user = quote(self.username or "", safe="")
        login = f"{user}:{quote(self.password, safe='')}@" if self.password else ""
        return f"{scheme}://{login}{self.host}:{self.port}/{self.db}"

    @property
    def feast_connection_string(self) -> str:
        """The address in the form of Feast's Redis store, with time-outs; Feast reads each value as JSON."""
        options: dict[str, Any] = {"socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": CONNECT_SECONDS}
        options |= {} if self.cluster else {"db": self.db}
        options |= {"password": self.password} if self.password else {}
        options |= {"username": self.username} if self.username else {}
        options |= {"ssl": True} if self.tls else {}
        return ",".join(
            [f"{self.host}:{self.port}", *(f"{name}={json.dumps(value)}" for name, value in options.items())]
        )

    def client(self, *, seconds: float = ANSWER_SECONDS, retries: int = 1) -> redis.Redis:
        """Return a client whose every call ends within ``seconds`` per try; of a cluster, one that knows its nodes."""
        options: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "password": self.password,
            "ssl": self.tls,
            "socket_timeout": seconds,
            "socket_connect_timeout": min(seconds, CONNECT_SECONDS),
            "retry": Retry(NoBackoff(), retries),
        }
        if self.cluster:
            return redis.RedisCluster(**options)  # type: ignore[return-value]  # the same commands, on several nodes
        return redis.Redis(db=self.db, **options)

    def keys(self) -> list[bytes]:
        """Return the entity keys of this project, sorted; other projects on the same server are left out.

        Raises
        ------
        Transient
            The server does not answer.
        """
        with self._answering() as client:
            found = set(client.scan_iter(match=f"*{self.project}", count=1000))
        return sorted(key for key in found if project_of(key) == self.project.encode())

    def count(self, prefix: bytes = b"") -> int:
        """Return how many entity keys of this project begin with ``prefix``."""
        return sum(key.startswith(prefix) for key in self.keys())

    def digest(self) -> str:
        """Return the SHA-256 over the sorted (key, field, value) of this project.

        Raises
        ------
        Transient
            The server does not answer.
        """
        keys, digest = self.keys(), hashlib.sha256()
        with self._answering() as client:
            for first in range(0, len(keys), BATCH):
                batch = keys[first : first + BATCH]
                with client.pipeline(transaction=False) as pipe:
                    for key in batch:
                        pipe.hgetall(key)  # type: ignore[arg-type]
                    for key, entries in zip(batch, pipe.execute(), strict=True):
                        for name, value in sorted(entries.items()):
                            for part in (key, name, value):
                                digest.update(struct.pack("<I", len(part)) + part)
        return digest.hexdigest()

    def answers(self, seconds: float = CONNECT_SECONDS) -> bool:
        """Say whether the server answers within ``seconds``."""
        try:
            with self.client(seconds=seconds, retries=0) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    @contextmanager
    def _answering(self) -> Iterator[redis.Redis]:
        try:
            with self.client() as client:
                yield client
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise self.silent(error) from error

    def silent(self, error: Exception) -> Transient:
        """Return the fault of a server that did not answer, to be raised."""
        return Transient(f"The online store at {self.host}:{self.port} does not answer ({error}).")

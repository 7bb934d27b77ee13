"""The online store: a Redis or Valkey server by URL, or the embedded Valkey of ``infra.embedded``.

Publishing writes it through Feast, serving reads it; what both need is its address, in either form.
"""

import hashlib
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.embedded import embedded_server
from infra.errors import Rejected, Transient
from infra.workspace import Workspace

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


def project_of(key: bytes) -> bytes | None:
    """Return the project that stands at the end of one of Feast's entity keys, or nothing if it is no such key."""
    try:
        (count,) = struct.unpack_from("<I", key)
        if not 0 < count <= 16:
            return None
        at = 4
        for _ in range(2 * count):
            (length,) = struct.unpack_from("<I", key, at + 4)
            at += 8 + length
    except struct.error:
        return None
    return key[at:] if at < len(key) else None


@contextmanager
def online_store(ws: Workspace) -> Iterator[OnlineStore]:
    """Join the online store of the settings, or start or join the embedded one; the last one out shuts that down.

    Raises
    ------
    Rejected
        ``RAPPORT_REDIS_URL`` is no address of a Redis server, or the server refuses the password.
    Transient
        The server does not answer in time.
    Terminal
        The embedded server does not run on this machine.
    """
    if ws.settings.redis_url:
        yield by_url(ws.settings.redis_url, ws.company.name)
        return
    with embedded_server(ws.folder("valkey")) as address:
        yield OnlineStore("127.0.0.1", address.port, ws.company.name, password=address.password)


def by_url(url: str, project: str) -> OnlineStore:
    """Return the store at a URL, once it has answered."""
    name = "RAPPORT_REDIS_URL"
    try:
        parts = redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise Rejected(name, "a URL such as redis://host:6379/0", str(error)) from None
    if not parts.get("host"):
        raise Rejected(name, "a URL such as redis://host:6379/0", "one without a host")
    if "," in (parts.get("password") or ""):
        raise Rejected(name, "a password without a comma, which Feast cannot read", "one with a comma")
    store = OnlineStore(
        parts["host"],
        parts.get("port", 6379),
        project,
        parts.get("username"),
        parts.get("password"),
        parts.get("db", 0),
        url.startswith("rediss"),
    )
    try:
        with store.client() as client:
            client.ping()
            return replace(store, cluster=bool(client.info("cluster").get("cluster_enabled")))
    except (redis.AuthenticationError, redis.ResponseError) as error:
        raise Rejected(name, f"an address that {store.host}:{store.port} lets in", str(error)) from None
    except redis.RedisError as error:
        raise store.silent(error) from error

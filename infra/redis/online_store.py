"""The online store of a workspace: the embedded server, or the one that RAPPORT_REDIS_URL names."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import redis

from infra.redis.embedded import embedded_server
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from rapport_feast.row.address import OnlineStore


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
        yield online_store_at(ws.settings.redis_url, ws.company.name)
        return
    with embedded_server(ws.folder("valkey")) as address:
        yield OnlineStore("127.0.0.1", address.port, ws.company.name, password=address.password)


def online_store_at(url: str, project: str) -> OnlineStore:
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

"""The client of a Redis log: its deadlines, its errors, and whether the server keeps what it accepts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.log.event_log import ANSWER_SECONDS, CONNECT_SECONDS, SETTING
from rapport_feast.errors import Rejected, Transient


def log_client(**options: Any) -> redis.Redis:
    return redis.Redis(
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        **options,
    )


def must_wait_for_disk(client: redis.Redis) -> bool:
    """Say whether each append has to wait for the disk by itself, or the server's reply already means that.

    Raises
    ------
    Rejected
        The server keeps nothing, does not say so, or cannot be waited for.
    """
    remedy = "Set appendonly yes on the server, and appendfsync always where it is older than Redis 7.2."
    with answering(client):
        try:
            kept: Any = client.info("persistence")
            if not kept["aof_enabled"]:
                raise Rejected(SETTING, "a server that keeps what it accepts", "appendonly no", remedy)
            about: Any = client.info("server")
        except redis.ResponseError as error:
            raise Rejected(SETTING, "a server that tells us INFO", str(error)) from None
        try:
            policy: Any = client.config_get("appendfsync")
            if policy["appendfsync"] == "always":
                return False
        except (redis.ResponseError, KeyError):
            pass  # a managed server does not tell: then each append asks for the disk
        version = str(about["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < (7, 2):
            raise Rejected(SETTING, "a server whose acceptance is durable", f"Redis {version}, everysec", remedy)
        return True


@contextmanager
def answering(client: redis.Redis) -> Iterator[None]:
    try:
        yield
    except redis.AuthenticationError as error:
        raise Rejected(SETTING, "an address that lets us in", str(error)) from None
    except (redis.ConnectionError, redis.TimeoutError) as error:
        where = client.get_connection_kwargs()
        raise Transient(f"The event log at {where['host']}:{where['port']} does not answer ({error}).") from error
    except redis.OutOfMemoryError as error:
        raise Transient("The event log is out of memory: it takes no more until a night is published.") from error
    except redis.ResponseError as error:
        raise Transient(f"The event log refuses a command ({error}).") from error

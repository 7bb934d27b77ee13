"""Taking back rows that Feast's Redis store holds and would not overwrite: those of a night whose values changed."""

from collections.abc import Iterator
from datetime import datetime

import redis
from feast.infra.online_stores.helpers import _mmh3, _redis_key_prefix
from google.protobuf.timestamp_pb2 import Timestamp

from features.spec import Group
from infra.online import OnlineStore

BATCH = 1000


def withdraw(online: OnlineStore, group: Group, times: set[datetime]) -> int:
    """Remove a view's online rows of some event times; publishing then writes the newest row that is true.

    Returns
    -------
    int
        How many rows were removed.
    """
    stamp = f"_ts:{group.view}".encode()
    fields = [stamp, *(_mmh3(f"{group.view}:{feature.name}") for feature in group.outputs)]
    stale = {_encoded(time) for time in times}
    prefix, removed = _redis_key_prefix([group.entity.key]), 0
    held_keys = online.keys()
    with online.client() as client:
        for keys in _batches([key for key in held_keys if key.startswith(prefix)]):
            held = _pipelined(client, [("HGET", key, stamp) for key in keys])
            gone = [key for key, value in zip(keys, held, strict=True) if value in stale]
            _pipelined(client, [("HDEL", key, *fields) for key in gone])
            removed += len(gone)
    return removed


def _encoded(time: datetime) -> bytes:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return bytes(stamp.SerializeToString())


def _batches(keys: list[bytes]) -> Iterator[list[bytes]]:
    return (keys[first : first + BATCH] for first in range(0, len(keys), BATCH))


def _pipelined(client: redis.Redis, commands: list[tuple[str | bytes, ...]]) -> list[bytes | None]:
    with client.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)  # type: ignore[no-untyped-call]
        return pipe.execute()

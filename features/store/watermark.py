"""The publisher's watermark: what the online store says itself that it was given."""

import redis

from features.compute.priors import SEGMENT
from rapport_feast.publications import Record
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.keys import entity_key, published_key


def read_watermark(online: OnlineStore) -> tuple[str | None, int]:
    """Return, by the server's own account, the newest night that it was given and how many keys it then had."""
    try:
        with online.client() as client:
            night, keys = client.hmget(published_key(online.project), ["night", "keys"])
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise online.silent(error) from error
    return (night.decode(), int(keys)) if night and keys else (None, 0)


def count_subjects(online: OnlineStore) -> int:
    """Return how many entities are online; segments, which only have priors, are not counted."""
    segments = entity_key("", {SEGMENT: ("string", "")})[:-4]
    return sum(not key.startswith(segments) for key in online.keys())  # noqa: SIM118  # it is no mapping


def write_watermark(online: OnlineStore, record: Record) -> None:
    night = max(record.nights)
    told = {"night": night, "keys": online.count(), "published_at": record.nights[night]["published_at"]}
    try:
        with online.client() as client:
            client.hset(published_key(online.project), mapping=told)
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise online.silent(error) from error

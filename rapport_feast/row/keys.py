"""The keys and fields of the online store: an entity's hash, its features, its packed rows, the writers' own hashes."""

import struct
from collections.abc import Mapping
from functools import lru_cache

import mmh3

from rapport_feast.value_form import Kind, Value

KEY_TYPES: dict[Kind, int] = {"bytes": 1, "string": 2, "int32": 3, "int64": 4, "unix_timestamp": 8}


def entity_key(project: str, keys: Mapping[str, tuple[Kind, Value]]) -> bytes:
    """Return the Redis key of an entity: its join keys, sorted by name, with their values, and the project."""
    names = sorted(keys)
    parts = [struct.pack("<I", len(names))]
    parts += [struct.pack("<II", KEY_TYPES["string"], len(name.encode())) + name.encode() for name in names]
    for kind, value in (keys[name] for name in names):
        raw = _key_bytes(kind, value)
        parts.append(struct.pack("<II", KEY_TYPES[kind], len(raw)) + raw)
    return b"".join(parts) + project.encode()


@lru_cache(maxsize=8192)
def feature_field(view: str, feature: str) -> bytes:
    """Return the hash field that holds a feature: the murmur3 hash of its reference, little endian."""
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def time_field(view: str) -> bytes:
    """Return the hash field that holds the event time of a view's row."""
    return f"_ts:{view}".encode()


def _key_bytes(kind: Kind, value: Value) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    return struct.pack("<i" if kind == "int32" else "<q", value)


def row_field(view: str) -> bytes:
    """Return the hash field that holds the packed row of a view."""
    return f"_row:{view}".encode()


def stream_key(project: str) -> bytes:
    """Return the key of the stream's heartbeat, a hash: ``applied`` (log time, microseconds), ``position``."""
    return f"_stream:{project}".encode()


def published_key(project: str) -> bytes:
    """Return the key of the publisher's watermark, a hash: ``night`` (YYYY-MM-DD), ``keys``, ``published_at``."""
    return f"_published:{project}".encode()


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

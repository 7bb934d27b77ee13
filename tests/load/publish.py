"""Publishing: ``feast materialize`` with our plug-ins beside Feast's own Redis store and engine, and beside raw RESP.

Both materialise the same Parquet file of 50 features through ``FeatureStore.materialize``, into the same empty server.
Raw RESP is the very bytes that ours stores, encoded beforehand, as plain ``HSET`` down one connection: no order, no
reading of a source, no Feast. It is what the server can take from one client. DuckDB reads with 256 MB.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, Int64, String

from infra.redis.embedded import embedded_server
from infra.redis.online_store import online_store_at
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.writer import RowWriter
from tests.load.bench import Entry, peak, peak_memory, seconds, timed

PROJECT, FEATURES = "bench", 50
ROWS, MANY, FLAT = 20_000, 60_000, (50_000, 200_000)
STAMP = pa.timestamp("us", "UTC")
AT = datetime(2026, 11, 20, tzinfo=UTC)
NAMES = [f"f{number}" for number in range(FEATURES)]
DAY = timedelta(days=1)


def run(folder: Path) -> list[Entry]:
    """Return the figures, once what is online is equal."""
    with server(folder / "valkey") as online:
        few, many = (write(folder / f"{rows}.parquet", rows) for rows in (ROWS, MANY))
        ours, feast, careless = (
            publisher(folder / name, kind, online, few)
            for name, kind in (("ours", "ours"), ("feast", "feast"), ("careless", "careless"))
        )
        ours()
        stored = feasts_fields(online)
        feast()
        if stored != feasts_fields(online):
            raise SystemExit("publish: what is online differs, so the times say nothing")
        large = publisher(folder / "large", "ours", online, many)
        large()
        raw = raw_writer(online)
        entries = [
            timed("publish: beside feast materialize", ours, feast, bar=1 / 5, pairs=3),
            timed("publish: beside feast materialize with skip_dedup", ours, careless, bar=1 / 5, pairs=3),
            timed("publish: beside raw RESP of the same bytes", large, raw, bar=2, pairs=3),
        ]
    low, high = (peak_memory(__name__, str(rows)) for rows in FLAT)
    return [*entries, Entry.of("publish: peak memory, four times the rows", high, low, "MB", bar=1.25)]


def write(path: Path, rows: int) -> Path:
    """Write the rows: floats, whole numbers and a text, a tenth of them missing."""
    random = np.random.default_rng(20261121)

    def column(number: int) -> pa.Array:
        missing = random.random(rows) < 0.1
        if number == 0:
            return pa.array(np.array(["gold", "silver", "none"])[random.integers(0, 3, rows)], mask=missing)
        drawn = random.random(rows) if number % 2 else random.integers(0, 10_000, rows)
        return pa.array(drawn, mask=missing)

    at = pa.array(np.full(rows, int(AT.timestamp()) * 1_000_000), STAMP)
    keys = {"customer_id": [f"C{number:06d}" for number in range(rows)], "event_time": at, "known_at": at}
    pq.write_table(pa.table(keys | {name: column(number) for number, name in enumerate(NAMES)}), path)
    return path


def publisher(home: Path, kind: str, online: OnlineStore, rows: Path) -> Callable[[], None]:
    """Return a call that empties the server and materialises the rows."""
    home.mkdir()
    address = {"connection_string": online.feast_connection_string}
    plug_ins: dict[str, Any] = {
        "offline_store": {"type": "duckdb"},
        "online_store": {"type": "redis", "skip_dedup": kind == "careless", **address},
    }
    if kind == "ours":
        plug_ins = {
            "offline_store": {"type": "rapport_feast.offline.RapportOfflineStore", "memory": "256MB", "threads": 2},
            "online_store": {"type": "rapport_feast.online.RapportOnlineStore", **address},
            "batch_engine": {"type": "rapport_feast.engine.RapportEngine", "folder": str(home / "unfinished")},
        }
    config = RepoConfig(
        project=PROJECT,
        provider="local",
        registry=str(home / "registry.db"),
        entity_key_serialization_version=3,
        **plug_ins,
    )
    config.repo_path = home
    store = FeatureStore(config=config)
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    types = [Field(name=name, dtype=String if not i else Float64 if i % 2 else Int64) for i, name in enumerate(NAMES)]
    view = FeatureView(
        name="stats",
        entities=[customer],
        ttl=timedelta(0),
        schema=[Field(name="customer_id", dtype=String), *types],
        source=FileSource(
            name="rows", path=str(rows), timestamp_field="event_time", created_timestamp_column="known_at"
        ),
    )
    with redirect_stdout(StringIO()):
        store.apply([customer, view])

    def publish() -> None:
        with online.client() as client:
            client.flushdb()
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            store.materialize(AT - DAY, AT + DAY)

    return publish


def raw_writer(online: OnlineStore) -> Callable[[], None]:
    """Return a call that empties the server and writes back, as raw RESP, what it holds now."""
    keys, chunks = online.keys(), []
    with online.client() as client:
        for first in range(0, len(keys), 2000):
            with client.pipeline(transaction=False) as pipe:
                for key in keys[first : first + 2000]:
                    pipe.hgetall(key)
                held = pipe.execute()
            words = [
                [b"HSET", key, *(part for pair in fields.items() for part in pair)]
                for key, fields in zip(keys[first : first + 2000], held, strict=True)
            ]
            chunks.append((len(words), b"".join(map(command, words))))

    def write_raw() -> None:
        with RowWriter(online) as writer, online.client() as client:
            client.flushdb()
            line = writer.line(b"")
            for _, content in chunks:
                line.send(content, time.monotonic() + 60)
            line.answers(len(keys), time.monotonic() + 60)

    return write_raw


def command(words: list[bytes]) -> bytes:
    """Return a command as RESP."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def feasts_fields(online: OnlineStore) -> dict[bytes, dict[bytes, bytes]]:
    """Return what is online in Feast's own fields."""
    with online.client() as client, client.pipeline(transaction=False) as pipe:
        keys = online.keys()
        for key in keys:
            pipe.hgetall(key)
        held = pipe.execute()
    return {
        key: {name: value for name, value in fields.items() if not name.startswith(b"_row:")}
        for key, fields in zip(keys, held, strict=True)
    }


@contextmanager
def server(folder: Path) -> Iterator[OnlineStore]:
    """Start a server of this bench's own."""
    folder.mkdir()
    with embedded_server(folder) as address:
        yield online_store_at(f"redis://:{address.password}@127.0.0.1:{address.port}/0", PROJECT)


def main(rows: int) -> None:
    """Materialise so many rows once, and print the most memory that was held."""
    with tempfile.TemporaryDirectory(prefix="rapport-bench-") as name:
        folder = Path(name)
        child = folder / "rows.parquet"
        code = f"from tests.load.publish import write; from pathlib import Path; write(Path({str(child)!r}), {rows})"
        subprocess.run([sys.executable, "-c", code], check=True)  # a child, whose memory is not ours
        with server(folder / "valkey") as online:
            publish = publisher(folder / "ours", "ours", online, child)
            taken = seconds(publish)
            print(f"{rows * FEATURES / taken:,.0f} values/s, peak {peak()}")


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""Children of ``test_publishers``: what writes and is killed, or races."""

import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow as pa
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, Int64

from infra.redis.online_store import online_store_at
from rapport_feast.row.encoding import ViewForm
from rapport_feast.row.layout import Packing
from rapport_feast.row.writer import RowWriter

PROJECT, KEYS, BATCH = "small", 100, 50
AT = datetime(2026, 11, 20, tzinfo=UTC)
FORM = ViewForm(PROJECT, "customer_id", "stats_00000000", Packing({"event": "int64", "known": "int64"}, "00000000"))


def race(url: str, seed: int, writes: int) -> None:
    """Write rows of the same keys with event times and known-ats in any order; each says in its values what it is."""
    random = np.random.default_rng(seed)
    with RowWriter(online_store_at(url, PROJECT), replace=True) as writer:
        for _ in range(writes // BATCH):
            event, known = random.integers(1, 400, BATCH), random.integers(0, 20, BATCH)
            ids = [f"C{number:03d}" for number in random.integers(0, KEYS, BATCH)]
            writer.write(FORM, ids, pa.table({"event": event, "known": known}), event * 1_000_000, known)


def repository(url: str, home: Path) -> FeatureStore:
    """Return a repository with our plug-ins over the rows of ``home``."""
    config = RepoConfig(
        project=PROJECT,
        provider="local",
        registry=str(home / "registry.db"),
        offline_store={"type": "rapport_feast.offline.RapportOfflineStore"},
        online_store={
            "type": "rapport_feast.online.RapportOnlineStore",
            "connection_string": online_store_at(url, PROJECT).feast_connection_string,
        },
        batch_engine={"type": "rapport_feast.engine.RapportEngine"},
        entity_key_serialization_version=3,
    )
    config.repo_path = home
    store = FeatureStore(config=config)
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    source = FileSource(
        name="rows", path=str(home / "rows.parquet"), timestamp_field="at", created_timestamp_column="made"
    )
    schema = [Field(name="n", dtype=Int64), Field(name="x", dtype=Float64)]
    with redirect_stdout(StringIO()):
        store.apply([customer, FeatureView(name="stats", entities=[customer], schema=schema, source=source)])
    return store


def materialise(url: str, home: Path) -> None:
    """Materialise the rows."""
    with redirect_stdout(StringIO()):
        repository(url, home).materialize(AT - timedelta(days=9), AT + timedelta(days=9))


if __name__ == "__main__":
    what, address, *rest = sys.argv[1:]
    if what == "race":
        race(address, int(rest[0]), int(rest[1]))
    else:
        materialise(address, Path(rest[0]))

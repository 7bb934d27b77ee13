"""A small company on a stage: views that Feast wrote, models as training publishes them, and the service over both."""

import hashlib
import json
import shutil
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import lightgbm
import numpy as np
import pandas as pd
import xgboost
from starlette.testclient import TestClient

from features.catalogue import standard
from features.stream.conversation import Conversations
from infra.clock import FixedClock
from infra.company.company import Company
from infra.redis.embedded import server_binary
from infra.settings import Settings
from infra.workspace import Workspace
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.keys import entity_key, row_field
from rapport_feast.row.layout import FOREVER_US, Packing
from serving.http.app import create_app
from serving.timestamps import micros

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64, Int64, String

CUTOFF = datetime(2026, 11, 20, 23, 59, 59, 999999, tzinfo=UTC)
NOW = CUTOFF + timedelta(hours=2)
ORDERS, TICKETS = "customer_orders_0a1b2c3d", "ticket_progress_4e5f6a7b"
ORDINARY: dict[str, Any] = {"served": "nightly", "freshness_seconds": 129_600, "empty": {}}
VIEWS: dict[str, Any] = {
    "project": "small",
    "night": "2026-11-20",
    "segment": None,
    "views": {
        ORDERS: {
            "group": "customer_orders",
            "entity": "customer",
            "key": "customer_id",
            "version": "0a1b2c3d",
            "features": {"orders__30d": "int64", "spend__30d": "float64", "segment": "string", "gap": "float64"},
            "prior": f"{ORDERS}__prior",
            "defaults": {"segment": "consumer"},
            **ORDINARY,
        },
        TICKETS: {
            "group": "ticket_progress",
            "entity": "ticket",
            "key": "ticket_id",
            "version": "4e5f6a7b",
            "features": {"events__7d": "int64", "gap": "float64"},
            "prior": f"{TICKETS}__prior",
            "defaults": {},
            **ORDINARY,
        },
    },
}
ALL = [f"{ORDERS}:{name}" for name in VIEWS["views"][ORDERS]["features"]]
TYPES = {"int64": Int64, "float64": Float64, "string": String}
BINARIES = {"valkey": lambda: str(server_binary()), "redis": lambda: "redis-server"}
ONE = {"customer_id": ["A1"]}
STORES = ["embedded", "valkey by URL", *(["redis by URL"] if shutil.which("redis-server") else [])]


@dataclass
class Stage:
    """A small company whose features Feast wrote, and Feast's store to ask the same things."""

    ws: Workspace
    online: OnlineStore
    feast: FeatureStore


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def workspace(home: Path, **settings: Any) -> Workspace:
    company = Company(name="small", title="small", sources=())
    return Workspace(Settings(home=home, **settings), company, FixedClock(NOW))


@contextmanager
def server_by_url(kind: str, folder: Path) -> Iterator[str]:
    """Run a server that is not ours to start or stop."""
    port = free_port()
    with (folder / "log").open("wb") as log:
        command = [BINARIES[kind](), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            store, deadline = OnlineStore("127.0.0.1", port, "small"), time.monotonic() + 10
            while not store.answers() and time.monotonic() < deadline:
                time.sleep(0.05)
            yield store.url
        finally:
            process.terminate()
            process.wait()


def rows(key: str, view: str) -> pd.DataFrame:
    """Return rows with every awkward value; the gap is null for one and NaN nowhere."""
    values: dict[str, list[Any]] = {
        "orders__30d": [0, -3, 2**53 + 1],
        "spend__30d": [0.1 + 0.2, -1.5e300, 0.0],
        "segment": ["vip", "", "größer ✓"],
        "events__7d": [1, 2, 3],
        "gap": [1.5, None, 2.5],
    }
    features = VIEWS["views"][view]["features"]
    times = [CUTOFF, CUTOFF - timedelta(days=1), datetime(2026, 11, 1, tzinfo=UTC)]
    frame = {key: ["A1", "A2", "Ä3"], **{name: values[name] for name in features}}
    return pd.DataFrame({**frame, "event_time": pd.to_datetime(times, utc=True), "known_at": CUTOFF})


def write_rows(online: OnlineStore, at: datetime = CUTOFF) -> None:
    """Write the packed rows of both views, as a night wrote them that was cut off at this time."""
    for name, view in VIEWS["views"].items():
        for row in rows(view["key"], name).to_dict("records"):
            values = [None if value != value else value for value in (row[feature] for feature in view["features"])]
            event_time = row["event_time"].to_pydatetime() + (at - CUTOFF)
            write_row(online, name, str(row[view["key"]]), values, event_time, at)


def write_row(
    online: OnlineStore,
    view: str,
    entity: str,
    values: Sequence[Any],
    event_time: datetime = CUTOFF,
    known_at: datetime = CUTOFF,
    valid_until: datetime | None = None,
    views: Mapping[str, Any] = VIEWS,
    key: str = "",
) -> None:
    """Write one packed row of a view, or of the priors of one."""
    entry = views["views"][view.removesuffix("__prior")]
    packing = Packing(entry["features"], entry["version"])
    until = FOREVER_US if valid_until is None else micros(valid_until)
    raw: Any = online.client()
    name = entity_key("small", {key or entry["key"]: ("string", entity)})
    raw.hset(name, row_field(view), packing.pack(micros(event_time), micros(known_at), until, values))


def feast_store(online: OnlineStore, folder: Path) -> FeatureStore:
    """Build Feast's own repository of the two views and write their rows through Feast, and the packed ones."""
    write_rows(online)
    config = RepoConfig(
        project="small",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "redis", "connection_string": online.feast_connection_string},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    for name, view in VIEWS["views"].items():
        frame = rows(view["key"], name)
        frame.astype({"event_time": "datetime64[us, UTC]"}).to_parquet(folder / f"{name}.parquet")
        source = FileSource(
            path=str(folder / f"{name}.parquet"), timestamp_field="event_time", created_timestamp_column="known_at"
        )
        entity = Entity(name=view["entity"], join_keys=[view["key"]], value_type=ValueType.STRING)
        schema = [Field(name=feature, dtype=TYPES[dtype]) for feature, dtype in view["features"].items()]
        schema.append(Field(name=view["key"], dtype=String))
        store.apply([entity, FeatureView(name=name, entities=[entity], schema=schema, source=source, ttl=timedelta(0))])
        store.write_to_online_store(name, frame)
    return store


def publish_model(
    ws: Workspace, name: str, version: str, kind: str, files: dict[str, bytes], changes: Mapping[str, Any] | None = None
) -> Path:
    """Publish a champion as training does, but for what is changed in its manifest; return its folder."""
    home = ws.folder("models") / name / version
    home.mkdir(parents=True)
    for file, content in files.items():
        (home / file).write_bytes(content)
    manifest = {
        "name": name, "version": version, "recipe": "churn", "entity": "customer", "kind": kind,
        "features": [
            {"ref": ALL[0], "dtype": "int64", "categories": None},
            {"ref": ALL[1], "dtype": "float64", "categories": None},
            {"ref": ALL[2], "dtype": "string", "categories": ["", "vip"]},
        ],
        "files": {file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
        "actions": [], "calibration": None, "metric": "pr_auc", "value": 0.5, "interval": [0.4, 0.6], "baseline": 0.4,
        "rows": 500, "night": "2026-11-20", "trained_at": "2026-11-21T01:00:00+00:00", "run_id": "none",
        "dataset_digest": "0" * 64, **(changes or {}),
    }  # fmt: skip
    content = json.dumps(manifest).encode()
    (home / "manifest.json").write_bytes(content)
    fresh = ws.folder("models") / name / "champion.new"
    fresh.write_text(json.dumps({"version": version, "digest": hashlib.sha256(content).hexdigest()}))
    fresh.replace(ws.folder("models") / name / "champion.json")
    return home


def boosters(seed: int = 0) -> tuple[xgboost.Booster, lightgbm.Booster]:
    """Train two tiny learners of three inputs."""
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(80, 3)), random.integers(0, 2, 80)
    flat = {"verbose": -1, "min_data_in_leaf": 2, "num_threads": 1}
    return (
        xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(x, label=y), 3),
        lightgbm.train(flat | {"objective": "binary"}, lightgbm.Dataset(x, label=y), 3),
    )


def publish_models(ws: Workspace) -> None:
    trees, leaves = boosters()
    text = leaves.model_to_string().encode()
    publish_model(
        ws, "churn", "1", "xgboost", {"model.ubj": bytes(trees.save_raw("ubj"))}, {"calibration": {"a": 0.5, "b": -1.0}}
    )
    publish_model(ws, "escalation", "2", "lightgbm", {"model.txt": text})
    other = boosters(1)[1].model_to_string().encode()
    files = {"none.txt": text, "discount.txt": other}
    publish_model(ws, "offer", "1", "lightgbm_policy", files, {"actions": ["none", "discount"]})


def publish_views(ws: Workspace, views: Mapping[str, Any] = VIEWS) -> None:
    fresh = ws.folder("feast") / "views.new"
    fresh.write_text(json.dumps(views))
    fresh.replace(ws.folder("feast") / "views.json")


@contextmanager
def client_of(ws: Workspace) -> Iterator[TestClient]:
    with TestClient(create_app(ws, lambda: Conversations(standard())), raise_server_exceptions=True) as client:
        wait_until_ready(client)
        yield client


def wait_until_ready(client: httpx.Client, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while (answer := client.get("/ready")).status_code != 200:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)

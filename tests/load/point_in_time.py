"""Point-in-time join: 100,000 labels, 1,000,000 rows, 20 features, one row in twenty made late.

Beside Feast's DuckDB store both stores are asked through ``FeatureStore.get_historical_features(...).to_arrow()``, as
known then. Beside a single statement ours is still asked through Feast and pays for all of it, while the statement
finds its connection open, the frame registered, and may give the rows in any order.
"""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import timedelta
from io import StringIO
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, String

from tests.load.bench import Entry, peak, peak_memory, seconds, timed

LABELS, ROWS, FEATURES, CUSTOMERS = 100_000, 1_000_000, 20, 10_000
STORES = {"ours": "rapport_feast.offline.RapportOfflineStore", "feast": "duckdb"}
NAMES = [f"f{number}" for number in range(FEATURES)]
START = np.datetime64("2026-01-01", "us").astype(np.int64)
DAY = 86_400_000_000
STAMP = pa.timestamp("us", "UTC")


def run(folder: Path) -> list[Entry]:
    """Return the figures, once all answers are equal."""
    write(folder)
    labels = pq.read_table(folder / "labels.parquet").to_pandas()
    ours, feast = (asker(folder, kind, labels) for kind in STORES)
    statement = fastest(folder, labels, ours())
    if not (same(ours(), labels) == len(labels) and digest(ours()) == digest(feast())):
        raise SystemExit("point-in-time: the answers differ, so their times say nothing")
    memory = {kind: peak_memory(__name__, kind, str(folder)) for kind in STORES}
    lost = len(labels) - same(ours(), labels)
    return [
        timed("point-in-time: beside Feast's DuckDB store", ours, feast, bar=1 / 3),
        timed("point-in-time: beside the fastest single statement", ours, statement, bar=1.5),
        Entry.of(
            "point-in-time: peak memory beside Feast's DuckDB store", memory["ours"], memory["feast"], "MB", bar=1
        ),
        Entry.of("point-in-time: label rows lost or out of order", lost, len(labels), "rows", bar=0),
    ]


def write(folder: Path) -> None:
    """Write the rows and the labels."""
    random = np.random.default_rng(20261121)
    customers = np.array([f"C{number:06d}" for number in range(CUSTOMERS)])
    event = START + random.integers(0, 180 * DAY, ROWS)
    late = np.where(
        random.random(ROWS) < 0.05, random.integers(0, 5 * DAY, ROWS), random.integers(0, DAY // 1440, ROWS)
    )
    rows = {"customer_id": customers[random.integers(0, CUSTOMERS, ROWS)]}
    rows |= {"event_time": pa.array(event, STAMP), "created": pa.array(event + late, STAMP)}
    pq.write_table(pa.table(rows | {name: random.random(ROWS) for name in NAMES}), folder / "rows.parquet")
    asked = {"label_id": np.arange(LABELS), "customer_id": customers[random.integers(0, CUSTOMERS, LABELS)]}
    asked["event_timestamp"] = pa.array(START + random.integers(0, 180 * DAY, LABELS), STAMP)
    pq.write_table(pa.table(asked), folder / "labels.parquet")


def asker(folder: Path, kind: str, labels: pd.DataFrame) -> Callable[[], pa.Table]:
    """Return a call that asks one of the stores."""
    home = folder / kind
    home.mkdir(exist_ok=True)
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(home / "registry.db"),
        offline_store={"type": STORES[kind]},
        online_store={"type": "sqlite", "path": str(home / "online.db")},
        entity_key_serialization_version=3,
    )
    config.repo_path = home
    store = FeatureStore(config=config)
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="stats",
        entities=[customer],
        ttl=timedelta(0),
        schema=[Field(name="customer_id", dtype=String), *(Field(name=name, dtype=Float64) for name in NAMES)],
        source=FileSource(
            name="rows",
            path=str(folder / "rows.parquet"),
            timestamp_field="event_time",
            created_timestamp_column="created",
        ),
    )
    refs = [f"stats:{name}" for name in NAMES]
    with redirect_stdout(StringIO()):
        store.apply([customer, view])

    def ask() -> pa.Table:
        return store.get_historical_features(labels, refs, filter_by_created_timestamp=True).to_arrow()

    return ask


def fastest(folder: Path, labels: pd.DataFrame, answer: pa.Table) -> Callable[[], pa.Table]:
    """Return a call that runs the fastest of the single statements that give the answer."""
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.register("labels", labels)

    def caller(sql: str) -> Callable[[], pa.Table]:
        return lambda: con.sql(sql).to_arrow_table()

    calls = [caller(sql) for sql in statements(f"read_parquet('{folder / 'rows.parquet'}')")]
    wrong = [number for number, call in enumerate(calls) if digest(call()) != digest(answer)]
    if wrong:
        raise SystemExit(f"point-in-time: statement {wrong[0]} gives another answer")
    return min(calls, key=lambda call: min(seconds(call) for _ in range(3)))


def statements(rows: str) -> list[str]:
    """Return statements for one answer: over whole rows, over row numbers, over row numbers and numbered keys."""
    features = ", ".join(NAMES)
    order = "known_at, event_time, created, file_row_number ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"

    def winners(columns: str, source: str, key: str) -> str:
        number = "file_row_number, " if source == rows else ""
        return f"""
            SELECT {key}, known_at, {columns}
            FROM (SELECT *, {number}greatest(event_time, created) AS known_at FROM {source})
            WINDOW w AS (PARTITION BY {key} ORDER BY {order})
            QUALIFY event_time = max(event_time) OVER w AND lead(known_at) OVER w IS DISTINCT FROM known_at"""

    by_number = f"""
        SELECT l.*, {features}
        FROM labels AS l LEFT JOIN met USING (label_id)
             LEFT JOIN (SELECT file_row_number, {features} FROM {rows}) USING (file_row_number)"""
    keyed = f"(SELECT * FROM (SELECT *, file_row_number FROM {rows}) JOIN people USING (customer_id))"
    return [
        f"""SELECT l.*, {features}
            FROM labels AS l ASOF LEFT JOIN ({winners(features, rows, "customer_id")}) AS w
                 ON l.customer_id = w.customer_id AND l.event_timestamp >= w.known_at""",
        f"""WITH met AS (
                SELECT label_id, file_row_number
                FROM labels AS l ASOF JOIN ({winners("file_row_number", rows, "customer_id")}) AS w
                     ON l.customer_id = w.customer_id AND l.event_timestamp >= w.known_at)
            {by_number}""",
        f"""WITH people AS MATERIALIZED (
                SELECT customer_id, row_number() OVER () AS k FROM (SELECT DISTINCT customer_id FROM labels)),
            met AS (
                SELECT label_id, file_row_number
                FROM (SELECT label_id, event_timestamp, k FROM labels JOIN people USING (customer_id)) AS l
                     ASOF JOIN ({winners("file_row_number", keyed, "k")}) AS w
                     ON l.k = w.k AND l.event_timestamp >= w.known_at)
            {by_number}""",
    ]


def same(answer: pa.Table, labels: pd.DataFrame) -> int:
    """Return how many label rows came back in their place."""
    kept = answer["label_id"].to_numpy()
    return int((kept == labels["label_id"].to_numpy()).sum()) if len(kept) == len(labels) else 0


def digest(answer: pa.Table) -> tuple[int, list[float | None]]:
    """Return what two answers share, whatever the order of their rows: every value, by label."""
    ordered = answer.sort_by("label_id")
    places = pa.array(np.arange(1, ordered.num_rows + 1, dtype=np.float64))
    sums = [pc.sum(pc.multiply(ordered[name].combine_chunks(), places)).as_py() for name in NAMES]
    return ordered.num_rows, [*sums, *(ordered[name].null_count for name in NAMES)]


if __name__ == "__main__":
    asked_kind, place = sys.argv[1], Path(sys.argv[2])
    asker(place, asked_kind, pq.read_table(place / "labels.parquet").to_pandas())()
    print(peak())

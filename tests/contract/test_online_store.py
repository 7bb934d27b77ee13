"""The online store's plug-in over the ground of Feast's universal tests, beside Feast's own Redis store.

Every test runs on both stores, on the embedded Valkey and on the machine's Redis where there is one. What they answer
must be equal but for ``DIFFERENCES``, each of which a test shows.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig, ValueType
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Bool, Bytes, FeastType, Float32, Float64, Int32, Int64, String, UnixTimestamp

from infra.redis.embedded import embedded_server, server_binary
from infra.redis.online_store import online_store_at
from rapport_feast.errors import Transient
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.encoding import ViewForm
from rapport_feast.row.keys import entity_key, row_field
from rapport_feast.row.layout import FOREVER_US, Packing
from rapport_feast.row.writer import RowWriter
from rapport_feast.times import EPOCH

DIFFERENCES = {
    "missing": "an entity without a row is NOT_FOUND; stock says PRESENT, because it answers an empty value",
    "null": "a value that is none is NULL_VALUE; stock says PRESENT",
    "ttl": "a row older than the view's ttl is OUTSIDE_MAX_AGE and gives no value; stock gives it as if fresh",
    "created": "of one event time the newest created time wins; stock keeps whichever came first",
    "again": "without a created time, of one event time the later write wins, so a correction arrives; stock drops it",
    "whole": "a row is a row: a feature that a later one lacks has no value; stock leaves that of another time",
    "project": "rows of a project whose name ends like this one's stay; stock's pattern takes them as well",
    "loops": "its asynchronous client serves every event loop; stock's only that of its first call",
    "deadline": "a silent server is a fault within the deadline; stock waits as long as it is told, or for ever",
}

NOON = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=123_456) - timedelta(days=2)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PROJECT = "shop"
CUSTOMER = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Start the machine's Redis on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not OnlineStore("127.0.0.1", port, PROJECT).answers():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module", params=["valkey", "redis"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "redis":
        if shutil.which("redis-server") is None:
            pytest.skip("no redis-server on this machine: install Redis 7")
        with redis_server(folder) as address:
            yield address
        return
    with embedded_server(folder) as server:
        yield f"redis://:{server.password}@127.0.0.1:{server.port}/0"


@dataclass
class Case:
    """A Feast repository on one of the stores."""

    kind: str
    store: FeatureStore
    online: OnlineStore
    folder: Path

    @property
    def ours(self) -> bool:
        return self.kind == "ours"

    def view(
        self, name: str, types: dict[str, FeastType], ttl: timedelta = timedelta(0), entities: Any = (CUSTOMER,),
        keys: dict[str, FeastType] | None = None, rows: pd.DataFrame | None = None, created: str = "", **more: Any,
    ) -> FeatureView:  # fmt: skip
        """Apply a view over a file of its own."""
        path = self.folder / f"{name}.parquet"
        keys = {"customer_id": String} if keys is None else keys
        if rows is not None:
            pa.parquet.write_table(pa.Table.from_pandas(rows, preserve_index=False), path)
        source = FileSource(name=name, path=str(path), timestamp_field="at", created_timestamp_column=created)
        view = FeatureView(
            name=name,
            entities=list(entities),
            ttl=ttl,
            schema=[Field(name=field, dtype=dtype) for field, dtype in {**keys, **types}.items()],
            source=more.pop("source", lambda batch: batch)(source),
            **more,
        )
        with redirect_stdout(StringIO()):
            self.store.apply([*entities, view])
        return self.store.get_feature_view(name)

    def write(self, view: FeatureView, *rows: tuple[str, dict[str, Value], datetime, datetime | None]) -> None:
        """Write rows of customers in one batch."""
        data = [(customer(key), values, at, made) for key, values, at, made in rows]
        self.provider.online_write_batch(self.store.config, view, data, None)

    @property
    def provider(self) -> Any:
        return self.store._get_provider()

    def ask(self, refs: list[str], rows: list[dict[str, Any]], full: bool = False) -> dict[str, list[Any]]:
        """Return values by feature."""
        answer: dict[str, list[Any]] = self.store.get_online_features(refs, rows, full_feature_names=full).to_dict()
        return answer

    def statuses(self, ref: str, *keys: str) -> list[str]:
        """Return the status of a feature of some customers."""
        answer = self.store.get_online_features([ref], [{"customer_id": key} for key in keys]).proto
        place = list(answer.metadata.feature_names.val).index(ref.partition(":")[2])
        return [FieldStatus.Name(status) for status in answer.results[place].statuses]

    def value(self, ref: str, key: str) -> Any:
        return self.ask([ref], [{"customer_id": key}])[ref.partition(":")[2]][0]


def customer(key: str) -> EntityKey:
    return EntityKey(join_keys=["customer_id"], entity_values=[Value(string_val=key)])


def number(value: int) -> dict[str, Value]:
    return {"n": Value(int64_val=value)}


def open_case(kind: str, url: str, folder: Path, project: str = PROJECT, **online: Any) -> Case:
    store = online_store_at(url, project)
    type_ = {"ours": "rapport_feast.online.RapportOnlineStore", "stock": "redis"}[kind]
    engine = {"batch_engine": {"type": "rapport_feast.engine.RapportEngine"}} if kind == "ours" else {}
    offline = "rapport_feast.offline.RapportOfflineStore" if kind == "ours" else "duckdb"
    folder.mkdir(exist_ok=True)
    config = RepoConfig(
        project=project,
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": offline},
        online_store={"type": type_, "connection_string": store.feast_connection_string, **online},
        entity_key_serialization_version=3,
        **engine,
    )
    config.repo_path = folder
    return Case(kind, FeatureStore(config=config), store, folder)


@pytest.fixture(params=["ours", "stock"])
def case(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> Case:
    made = open_case(request.param, url, tmp_path)
    with made.online.client() as client:
        client.flushdb()
    return made


# What both answer alike.

TYPES: dict[str, tuple[FeastType, list[Any]]] = {
    "int64": (Int64, [2**62, -1, None]),
    "int32": (Int32, [2**31 - 1, -5, None]),
    "float64": (Float64, [0.1, -0.0, None]),
    "float32": (Float32, [0.5, 1.5, None]),
    "bool": (Bool, [True, False, None]),
    "string": (String, ["", "Grüße, 東京", None]),
    "bytes": (Bytes, [b"\x00\xff", b"", None]),
    "moment": (UnixTimestamp, [NOON.replace(microsecond=0), EPOCH, None]),
    "texts": (Array(String), [["a", "b"], [""], None]),
    "numbers": (Array(Int64), [[1, -2], [2**60], None]),
}


def frame(**columns: Any) -> pd.DataFrame:
    rows = len(next(iter(columns.values())))
    keys = {"customer_id": [f"C{i}" for i in range(rows)], "at": pd.Series([NOON] * rows).astype("datetime64[us, UTC]")}
    return pd.DataFrame({**keys, **columns})


def test_every_type_comes_back(case: Case) -> None:
    case.view("all", {name: kind for name, (kind, _) in TYPES.items()})
    rows = frame(**{name: pd.Series(values, dtype=object) for name, (_, values) in TYPES.items()})
    case.store.write_to_online_store("all", rows)
    found = case.ask([f"all:{name}" for name in TYPES], [{"customer_id": f"C{i}"} for i in range(3)])
    # Feast keeps no list apart from none that is empty.
    assert {name: found[name] for name in TYPES} == {name: values for name, (_, values) in TYPES.items()}


def test_both_write_the_same_bytes(url: str, tmp_path: Path) -> None:
    stored = []
    for kind in ("ours", "stock"):
        case = open_case(kind, url, tmp_path / kind)
        with case.online.client() as client:
            client.flushdb()
            case.view("all", {name: kind_ for name, (kind_, _) in TYPES.items()})
            rows = frame(**{name: pd.Series(values, dtype=object) for name, (_, values) in TYPES.items()})
            case.store.write_to_online_store("all", rows)
            stored.append({key: client.hgetall(key) for key in case.online.keys()})  # noqa: SIM118
    ours, stock = stored
    assert {key: {name: v for name, v in row.items() if name != b"_row:all"} for key, row in ours.items()} == stock


def test_names_are_full_when_asked(case: Case) -> None:
    for name in ("one", "two"):
        view = case.view(name, {"n": Int64})
        case.write(view, ("C1", number(len(name) + (name == "two")), NOON, None))
    found = case.ask(["one:n", "two:n"], [{"customer_id": "C1"}], full=True)
    assert (found["one__n"], found["two__n"]) == ([3], [4])


def test_a_row_asked_twice_comes_twice_in_order(case: Case) -> None:
    view = case.view("one", {"n": Int64})
    case.write(view, ("C1", number(1), NOON, None), ("C2", number(2), NOON, None))
    assert case.ask(["one:n"], [{"customer_id": key} for key in ("C2", "nobody", "C1", "C2")])["n"] == [2, None, 1, 2]


def test_views_without_entities_and_with_two(case: Case) -> None:
    seller = Entity(name="seller", join_keys=["seller_id"], value_type=ValueType.INT64)
    at = pd.Series([NOON]).astype("datetime64[us, UTC]")
    world = case.view("world", {"n": Int64}, entities=(), keys={}, rows=pd.DataFrame({"at": at, "n": [7]}))
    rows = pd.DataFrame({"customer_id": ["C1"], "seller_id": [5], "at": at, "x": [2.5]})
    keys = {"customer_id": String, "seller_id": Int64}
    case.view("pair", {"x": Float64}, entities=(CUSTOMER, seller), keys=keys, rows=rows)
    if case.ours:  # Feast's DuckDB store does not materialise a view without entities
        quietly(case.store.materialize, NOON - DAY, NOON + DAY)
    else:
        case.store.write_to_online_store("pair", rows)
        nobody = EntityKey(join_keys=["__dummy_id"], entity_values=[Value(string_val="")])
        case.provider.online_write_batch(case.store.config, world, [(nobody, number(7), NOON, None)], None)
    found = case.ask(
        ["world:n", "pair:x"], [{"customer_id": "C1", "seller_id": 5}, {"customer_id": "C1", "seller_id": 6}]
    )
    assert (found["n"], found["x"]) == ([7, 7], [2.5, None])


def test_materialising_takes_the_newest_row_of_the_span(case: Case) -> None:
    times = [NOON - DAY, NOON, NOON + HOUR, NOON - DAY]
    rows = pd.DataFrame({"customer_id": ["C1", "C1", "C1", "C2"], "at": times, "n": [1, 2, 3, 4], "flag": [True] * 4})
    rows["at"] = rows["at"].astype("datetime64[us, UTC]")
    case.view("one", {"n": Int64}, rows=rows)
    case.view("two", {"n": Int64, "flag": Bool}, rows=rows)  # a type that is not packed
    quietly(case.store.materialize, NOON - 2 * DAY, NOON)
    people = [{"customer_id": "C1"}, {"customer_id": "C2"}]
    assert [case.ask([f"{view}:n"], people)["n"] for view in ("one", "two")] == [[2, 4], [2, 4]]
    quietly(case.store.materialize_incremental, NOON + 2 * HOUR)
    assert [case.ask([f"{view}:n"], people)["n"] for view in ("one", "two")] == [[3, 4], [3, 4]]
    quietly(case.store.materialize, NOON - 2 * DAY, NOON - HOUR)
    assert case.ask(["one:n"], people)["n"] == [3, 4], "an older span takes nothing back"


def test_a_field_mapping_is_followed(case: Case) -> None:
    rows = frame(column=[1, 2]).rename(columns={"customer_id": "who"})
    path = case.folder / "mapped.parquet"
    pa.parquet.write_table(pa.Table.from_pandas(rows, preserve_index=False), path)
    mapping = {"who": "customer_id", "column": "n"}
    source = FileSource(name="mapped", path=str(path), timestamp_field="at", field_mapping=mapping)
    view = FeatureView(name="mapped", entities=[CUSTOMER], schema=[Field(name="n", dtype=Int64)], source=source)
    quietly(case.store.apply, [CUSTOMER, view])
    quietly(case.store.materialize, NOON - DAY, NOON + DAY)
    assert case.value("mapped:n", "C1") == 2


def test_a_push_is_seen_at_once(case: Case) -> None:
    case.view("one", {"n": Int64}, rows=frame(n=[1]), source=lambda batch: PushSource(name="door", batch_source=batch))
    case.store.push("door", frame(n=[5, 6]))
    assert [case.value("one:n", key) for key in ("C0", "C1")] == [5, 6]


def test_what_is_written_asynchronously_is_read_so(case: Case) -> None:
    view = case.view("one", {"n": Int64})
    data = [(customer(f"C{i}"), number(i), NOON, None) for i in range(3)]

    async def go() -> list[Any]:
        await case.provider.online_write_batch_async(case.store.config, view, data, None)
        rows = [{"customer_id": f"C{i}"} for i in range(3)]
        return list((await case.store.get_online_features_async(["one:n"], rows)).to_dict()["n"])

    assert asyncio.run(go()) == [0, 1, 2]


def test_the_newest_event_time_wins_in_any_order(case: Case) -> None:
    view = case.view("one", {"n": Int64})
    times = [NOON + i * HOUR for i in range(4)]
    for i in (1, 3, 0, 2):
        case.write(view, ("C1", number(i), times[i], None))
    case.write(view, *(("C2", number(i), times[i], None) for i in (2, 3, 1)))
    assert [case.value("one:n", key) for key in ("C1", "C2")] == [3, 3]
    ((at, _),) = case.provider.online_read(case.store.config, view, [customer("C1")])
    assert at == times[3] if case.ours else abs(at - times[3]) < timedelta(milliseconds=1)


def test_a_microsecond_decides(case: Case) -> None:
    view = case.view("one", {"n": Int64})
    case.write(view, ("C1", number(2), NOON + timedelta(microseconds=1), None))
    case.write(view, ("C1", number(1), NOON, None))
    assert case.value("one:n", "C1") == 2


def test_a_view_that_goes_takes_its_rows_and_no_others(case: Case) -> None:
    one, two = (case.view(name, {"n": Int64}) for name in ("one", "two"))
    case.write(one, ("C1", number(1), NOON, None), ("C2", number(2), NOON, None))
    case.write(two, ("C1", number(3), NOON, None))
    quietly(case.store.apply, objects_to_delete=[one], objects=[], partial=False)
    with case.online.client() as client:
        left = {key: client.hkeys(key) for key in case.online.keys()}  # noqa: SIM118
    assert list(left) == [entity_key(PROJECT, {"customer_id": ("string", "C1")})]
    assert not [field for fields in left.values() for field in fields if b"one" in field]
    assert case.value("two:n", "C1") == 3


def test_a_teardown_leaves_nothing(case: Case) -> None:
    view = case.view("one", {"n": Int64})
    case.write(view, *((f"C{i}", number(i), NOON, None) for i in range(20)))
    case.store.teardown()
    assert case.online.count() == 0


def test_keys_expire_when_told(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for kind in ("ours", "stock"):
        case = open_case(kind, url, tmp_path / kind, key_ttl_seconds=100)
        view = case.view("one", {"n": Int64})
        case.write(view, (kind, number(1), NOON, None))
        with case.online.client() as client:
            assert 90 < client.ttl(entity_key(PROJECT, {"customer_id": ("string", kind)})) <= 100


# What they do not: DIFFERENCES.


def test_missing(case: Case) -> None:
    view = case.view("one", {"n": Int64})
    case.write(view, ("C1", number(0), NOON, None))
    assert case.statuses("one:n", "C1", "nobody") == ["PRESENT", "NOT_FOUND" if case.ours else "PRESENT"]
    read = case.provider.online_read(case.store.config, view, [customer("nobody")])
    assert (read == [(None, None)]) == case.ours


def test_null(case: Case) -> None:
    view = case.view("one", {"n": Int64})
    case.write(view, ("C1", {"n": Value()}, NOON, None))
    assert case.statuses("one:n", "C1") == ["NULL_VALUE" if case.ours else "PRESENT"]
    assert case.value("one:n", "C1") is None


def test_ttl(case: Case) -> None:
    view = case.view("one", {"n": Int64}, ttl=HOUR)
    case.write(
        view, ("old", number(1), datetime.now(UTC) - 2 * HOUR, None), ("new", number(2), datetime.now(UTC), None)
    )
    assert case.statuses("one:n", "old", "new") == ["OUTSIDE_MAX_AGE" if case.ours else "PRESENT", "PRESENT"]
    assert [case.value("one:n", key) for key in ("old", "new")] == [None if case.ours else 1, 2]


def test_created(case: Case) -> None:
    view = case.view("one", {"n": Int64}, created="made")
    for value, made in ((1, NOON), (2, NOON + HOUR), (3, NOON + timedelta(minutes=1))):
        case.write(view, ("C1", number(value), NOON, made))
    case.write(view, *(("C2", number(v), NOON, NOON + m * HOUR) for v, m in ((1, 0), (2, 5), (3, 1))))
    assert [case.value("one:n", key) for key in ("C1", "C2")] == ([2, 2] if case.ours else [1, 1])


def test_again(case: Case) -> None:
    view = case.view("one", {"n": Int64})
    case.write(view, ("C1", number(1), NOON, None))
    case.write(view, ("C1", number(2), NOON, None))
    assert case.value("one:n", "C1") == (2 if case.ours else 1)


def test_whole(case: Case) -> None:
    view = case.view("one", {"n": Int64, "m": Int64})
    case.write(view, ("C1", number(1) | {"m": Value(int64_val=5)}, NOON, None))
    case.write(view, ("C1", number(2), NOON + HOUR, None))
    assert (case.value("one:n", "C1"), case.value("one:m", "C1")) == (2, None if case.ours else 5)


def test_project(case: Case, url: str, tmp_path: Path) -> None:
    other = open_case(case.kind, url, tmp_path / "other", project=f"my{PROJECT}")
    for one in (case, other):
        one.write(one.view("one", {"n": Int64}), ("C1", number(1), NOON, None))
    case.store.teardown()
    assert (other.online.count() == 1) == case.ours


def test_loops(case: Case) -> None:
    view = case.view("one", {"n": Int64})
    case.write(view, ("C1", number(1), NOON, None))

    def ask() -> Any:
        asked = case.store.get_online_features_async(["one:n"], [{"customer_id": "C1"}])
        return asyncio.run(asked).to_dict()["n"]

    assert ask() == [1]
    if case.ours:
        assert ask() == [1]
    else:
        with pytest.raises(RuntimeError, match="loop"):
            ask()


def test_deadline(tmp_path: Path) -> None:
    with embedded_server(tmp_path) as server:
        url = f"redis://:{server.password}@127.0.0.1:{server.port}/0"
        case = open_case("ours", url, tmp_path / "ours", timeout_seconds=0.5)
        view = case.view("one", {"n": Int64})
        case.write(view, ("C1", number(1), NOON, None))
        with case.online.client() as client:
            pid = client.info("server")["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            for call in (
                lambda: case.value("one:n", "C1"),
                lambda: case.write(view, ("C1", number(2), NOON + HOUR, None)),
                lambda: asyncio.run(case.store.get_online_features_async(["one:n"], [{"customer_id": "C1"}])),
            ):
                start = time.monotonic()
                with pytest.raises(Transient, match="does not answer"):
                    call()
                assert time.monotonic() - start < 1.5
        finally:
            os.kill(pid, signal.SIGCONT)
        assert case.value("one:n", "C1") in (1, 2), "it goes on by itself"


def test_every_difference_is_shown() -> None:
    assert not [name for name in DIFFERENCES if f"test_{name}" not in globals()]


# Side by side on the same rows.


@pytest.fixture
def pair(url: str, tmp_path: Path) -> tuple[Case, Case]:
    ours, stock = (open_case(kind, url, tmp_path / kind) for kind in ("ours", "stock"))
    with ours.online.client() as client:
        client.flushdb()
    return ours, stock


def test_each_reads_what_the_other_wrote(pair: tuple[Case, Case]) -> None:
    for writer, reader in (pair, pair[::-1]):
        view, _ = (case.view(writer.kind, {"n": Int64, "t": String}) for case in (writer, reader))
        writer.write(view, ("C1", number(8) | {"t": Value(string_val="x")}, NOON, NOON))
        assert (reader.value(f"{writer.kind}:n", "C1"), reader.value(f"{writer.kind}:t", "C1")) == (8, "x")


def test_the_order_holds_when_stock_writes_too(pair: tuple[Case, Case]) -> None:
    ours, stock = pair
    view, same = (case.view("one", {"n": Int64}) for case in pair)
    stock.write(same, ("C1", number(5), NOON + HOUR, None))
    ours.write(view, ("C1", number(4), NOON, NOON + DAY))
    assert ours.value("one:n", "C1") == 5, "older than what stock wrote"
    ours.write(view, ("C1", number(6), NOON + 2 * HOUR, NOON + DAY))
    stock.write(same, ("C1", number(7), NOON + 3 * HOUR, None))
    ours.write(view, ("C1", number(8), NOON + 2 * HOUR, NOON + 2 * DAY))
    assert ours.value("one:n", "C1") == 7, "stock's row is newer than the packed one beside it"
    ours.write(view, ("C1", number(9), NOON + 3 * HOUR, NOON))
    assert ours.value("one:n", "C1") == 9, "of stock's own moment ours knows more"


def test_a_time_before_the_epoch_is_older(pair: tuple[Case, Case]) -> None:
    ours, stock = pair
    view, same = (case.view("one", {"n": Int64}) for case in pair)
    times = [EPOCH - timedelta(days=400), EPOCH - timedelta(microseconds=1), EPOCH]
    stock.write(same, ("C1", number(1), times[1], None))
    for place in (0, 2, 1):
        ours.write(view, ("C1", number(place), times[place], None))
    assert ours.value("one:n", "C1") == 2


# What only ours knows: a row that is true until a moment, and the packed row.


def writer_form() -> ViewForm:
    return ViewForm(
        PROJECT, "customer_id", "one__live", Packing({"n": "int64", "t": "string", "x": "float64"}, "0a1b2c3d")
    )


def test_a_live_row_past_its_time_is_out_of_date(url: str, tmp_path: Path) -> None:
    case = open_case("ours", url, tmp_path)
    case.view("one__live", {"n": Int64, "x": Float64, "t": String}, tags={"served": "live"})
    rows = pa.table({"n": [1, 2], "x": [0.5, None], "t": ["a", None]})
    now = int(time.time() * 1_000_000)
    with RowWriter(case.online) as writer:
        writer.write(writer_form(), ["gone", "true"], rows, now - 10, now, np.array([now - 1, FOREVER_US]))
    assert case.statuses("one__live:n", "gone", "true", "nobody") == ["OUTSIDE_MAX_AGE", "PRESENT", "NOT_FOUND"]
    assert case.statuses("one__live:x", "true") == ["NULL_VALUE"]


def test_feasts_write_packs_the_row_as_the_writer_does(url: str, tmp_path: Path) -> None:
    case = open_case("ours", url, tmp_path)
    view = case.view("one__live", {"n": Int64, "x": Float64, "t": String}, tags={"version": "0a1b2c3d"})
    values = {"n": Value(int64_val=-3), "x": Value(), "t": Value(string_val="ß")}
    case.write(view, ("C1", values, NOON, NOON + HOUR))
    key = entity_key(PROJECT, {"customer_id": ("string", "C1")})
    with case.online.client() as client:
        row = writer_form().packing.unpack(client.hget(key, row_field("one__live")))
    micros = [(at - EPOCH) // timedelta(microseconds=1) for at in (NOON, NOON + HOUR)]
    assert row == (bytes.fromhex("0a1b2c3d"), *micros, FOREVER_US, (-3, "ß", None))


def quietly(call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    with redirect_stdout(StringIO()):
        call(*arguments, **named)


# A cluster: each entity is one key, so one slot of one node.


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[OnlineStore]:
    """Start two nodes that share the slots."""
    servers, ports = [], []
    for slots in ((0, 8191), (8192, 16383)):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1] % 50_000 + 1024  # the nodes talk to each other 10,000 ports higher
        folder = tmp_path / str(port)
        folder.mkdir()
        command = [
            str(server_binary()),
            "--port",
            str(port),
            "--cluster-enabled",
            "yes",
            "--save",
            "",
            "--dir",
            str(folder),
        ]
        servers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        ports.append(port)
        until(OnlineStore("127.0.0.1", port, PROJECT).answers)
        with OnlineStore("127.0.0.1", port, PROJECT).client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0])
    try:
        for port in ports:
            with OnlineStore("127.0.0.1", port, PROJECT).client() as client:
                until(lambda client=client: b"cluster_state:ok" in told(client))  # type: ignore[misc]
        yield online_store_at(f"redis://127.0.0.1:{ports[0]}/0", PROJECT)
    finally:
        for server in servers:
            server.kill()
            server.wait()


def told(client: Any) -> bytes:
    answer = client.execute_command("CLUSTER", "INFO")
    return answer if isinstance(answer, bytes) else repr(answer).replace("': '", ":").encode()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_cluster_is_written_slot_by_slot_and_read_by_stock(cluster: OnlineStore, tmp_path: Path) -> None:
    assert cluster.cluster
    form = ViewForm(PROJECT, "customer_id", "one", Packing({"n": "int64"}, "00000000"))
    ids = [f"C{number}" for number in range(300)]
    with RowWriter(cluster) as writer:
        found = writer.write(form, ids, pa.table({"n": np.arange(300)}), np.arange(300) % 2 + 10, 1)
        assert found.accepted == 300
        found = writer.write(form, ids, pa.table({"n": np.full(300, -1)}), 10, 2)
        assert found.refused.tolist() == list(range(1, 300, 2))
        writer.heartbeat(5, 6)
    assert cluster.count() == 300
    for kind in ("ours", "stock"):
        case = open_case(kind, cluster.url, tmp_path / kind, redis_type="redis_cluster")
        view = case.view("one", {"n": Int64})
        assert [case.value("one:n", key) for key in ("C0", "C1", "C299")] == [-1, 1, 299]
        case.write(view, (kind, number(3), NOON, None))
        assert case.value("one:n", kind) == 3

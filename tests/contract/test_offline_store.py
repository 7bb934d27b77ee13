"""Our offline store over the ground of Feast's universal tests, beside Feast's own DuckDB store and an oracle.

A scenario is a small repository and what is asked of it. Both stores answer it, and both answers are the same, or the
scenario says what the difference is and why.
"""

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RepoConfig,
    RequestSource,
    ValueType,
)
from feast.data_format import DeltaFormat
from feast.data_source import PushMode
from feast.errors import EntityTimestampInferenceException, SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String
from hypothesis import given, settings
from hypothesis import strategies as st

import features.store
from infra.clock import Nights
from infra.lake.commit import Commit
from infra.lake.lake import Lake
from rapport_feast.errors import Rejected

OURS, STOCK = "rapport_feast.offline.RapportOfflineStore", "duckdb"
DRIVER = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
CUSTOMER = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)


def at(day: float, **more: float) -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=day - 1, **more)


@pytest.fixture(autouse=True)
def _own_default_backend() -> Iterator[None]:
    """Give Feast's DuckDB store the default connection of Ibis in UTC, and take it away again."""
    before = ibis.options.default_backend
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    ibis.set_backend(ibis.duckdb.from_connection(con))
    yield
    ibis.options.default_backend = before
    con.close()


def open_repo(folder: Path, offline: str, objects: Sequence[Any] = (), **options: Any) -> FeatureStore:
    folder.mkdir(parents=True, exist_ok=True)
    config = RepoConfig(
        project="p",
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": offline, **options},
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
    )
    config.repo_path = folder
    store = FeatureStore(config=config)
    store.apply(list(objects))
    return store


def parquet(path: Path, rows: Sequence[dict[str, Any]], **types: pa.DataType) -> str:
    """Write rows with times in microseconds; ``types`` are those of columns that the rows do not show."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pa.Table.from_pylist(list(rows))
    for number, column in enumerate(frame.schema):
        kind = types.get(column.name, pa.timestamp("us", "UTC") if pa.types.is_timestamp(column.type) else column.type)
        frame = frame.set_column(number, column.name, frame[column.name].cast(kind))
    pq.write_table(frame, path)
    return str(path)


def view(
    name: str, path: str, entities: Sequence[Entity], *features: str, ttl: timedelta = timedelta(0), **source: Any
):
    source = {"created_timestamp_column": "created"} | source
    keys = [Field(name=e.join_key, dtype=String if e is CUSTOMER else Int64) for e in entities]
    return FeatureView(
        name=name,
        entities=list(entities),
        ttl=ttl,
        schema=[*keys, *(Field(name=feature, dtype=Int64) for feature in features)],
        source=FileSource(name=f"{name}_source", path=path, timestamp_field="event_time", **source),
    )


def row(event: datetime, created: datetime | None = None, **values: Any) -> dict[str, Any]:
    return {**values, "event_time": event, "created": created or event}


def drivers() -> list[dict[str, Any]]:
    return [row(at(day), driver_id=driver, trips=100 * driver + day) for driver in (1, 2, 3) for day in (1, 3, 5, 7)]


def customers() -> list[dict[str, Any]]:
    return [row(at(day), customer_id=who, orders=10 * n + day) for n, who in enumerate("ab") for day in (2, 4, 6)]


def entities(*rows: tuple[Any, ...], columns: Sequence[str] = ("driver_id", "customer_id")) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["event_timestamp", *columns])


# The scenarios.


@dataclass(frozen=True)
class Scenario:
    """What both stores are asked.

    Attributes
    ----------
    objects
        Makes the repository's objects; files go into the folder it is given.
    ask
        Gives the answer, anything comparable.
    differs
        Why Feast's DuckDB store answers otherwise; empty if it does not.
    right
        The answer there; or, as a function, the question to which Feast's store gives it.
    """

    objects: Callable[[Path], Sequence[Any]]
    ask: Callable[[FeatureStore], Any]
    differs: str = ""
    right: Any = None


def two_views(folder: Path, **options: Any) -> list[Any]:
    return [
        DRIVER,
        CUSTOMER,
        view("driver_stats", parquet(folder / "drivers.parquet", drivers()), [DRIVER], "trips", **options),
        view("customer_stats", parquet(folder / "customers.parquet", customers()), [CUSTOMER], "orders", **options),
    ]


ASKED = entities((at(4), 1, "b"), (at(1.5), 2, "a"), (at(9), 3, "a"), (at(4), 1, "b"), (at(0.5), 2, "nobody"))
BOTH = ["driver_stats:trips", "customer_stats:orders"]


def history(asked: pd.DataFrame | str | None = None, refs: Any = BOTH, **options: Any) -> Callable[[FeatureStore], Any]:
    """Return the question for the rows in their order: column names, and the values as text."""

    def ask(store: FeatureStore) -> list[Any]:
        found = store.get_historical_features(ASKED.copy() if asked is None else asked, refs, **options).to_arrow()
        return rows_of(found)

    return ask


def rows_of(found: pa.Table) -> list[Any]:
    """Return the names of the columns, sorted, and the rows as text, sorted: Feast's store has no order."""
    names = sorted(found.column_names)
    return [
        names,
        *sorted([str(value) for value in row] for row in zip(*(_plain(found[n]) for n in names), strict=True)),
    ]


def _plain(column: Any) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("us", "UTC")).to_pylist()
    return column.to_pylist()


def with_ttl(folder: Path) -> list[Any]:
    return two_views(folder, ttl=DAY)


def revised(folder: Path) -> list[Any]:
    rows = [
        row(at(2), driver_id=1, trips=1),
        row(at(2), at(2, hours=1), driver_id=1, trips=2),
        row(at(3), at(3, hours=2), driver_id=1, trips=3),
        row(at(2), at(6), driver_id=1, trips=4),
    ]
    return [DRIVER, view("driver_stats", parquet(folder / "r.parquet", rows), [DRIVER], "trips")]


REVISED = entities(*((at(2, hours=h), 1) for h in (0, 1, 2, 24, 25, 26, 100)), columns=["driver_id"])
TRIPS = ["driver_stats:trips"]


def mapped(folder: Path) -> list[Any]:
    rows = [{"did": 1, "n": day, "when": at(day), "made": at(day)} for day in (1, 3)]
    path = parquet(folder / "m.parquet", rows)
    names = {"did": "driver_id", "n": "trips", "when": "event_time", "made": "created"}
    return [DRIVER, view("driver_stats", path, [DRIVER], "trips", field_mapping=names)]


def aliased(folder: Path) -> list[Any]:
    stats = two_views(folder)[2]
    ends = {
        name: stats.with_name(f"{name}_stats").with_join_key_map({"driver_id": f"{name}_id"})
        for name in ("first", "second")
    }
    return [DRIVER, stats, FeatureService(name="ends", features=[ends["first"][["trips"]], ends["second"][["trips"]]])]


ALIASED = entities((at(4), 1, 2), (at(8), 3, 9), columns=["first_id", "second_id"])


def with_ends(**options: Any) -> Callable[[FeatureStore], Any]:
    return lambda store: history(ALIASED, store.get_feature_service("ends"), full_feature_names=True, **options)(store)


def without_entities(folder: Path) -> list[Any]:
    rows = [row(at(day), rate=day) for day in (1, 3, 5)]
    return [*two_views(folder), view("rates", parquet(folder / "rates.parquet", rows), [], "rate")]


def on_demand(folder: Path) -> list[Any]:
    found = two_views(folder)
    said = RequestSource(name="said", schema=[Field(name="factor", dtype=Int64)])

    @on_demand_feature_view(sources=[found[2], said], schema=[Field(name="product", dtype=Float64)], mode="pandas")
    def scaled(inputs: pd.DataFrame) -> pd.DataFrame:
        import pandas

        return pandas.DataFrame({"product": inputs["trips"].astype("float64") * inputs["factor"]})

    return [*found, scaled]


def pulled(store: FeatureStore, how: str, *span: datetime | None, created: str | None = "created") -> Any:
    source = store.get_feature_view("driver_stats").batch_source
    provider = store._get_provider()
    pull = getattr(provider.offline_store, f"pull_{how}_from_table_or_query")
    span_ = dict(zip(("start_date", "end_date"), span, strict=True))
    return rows_of(pull(store.config, source, ["driver_id"], ["trips"], "event_time", created, **span_).to_arrow())


def online(store: FeatureStore, refs: Sequence[str], **keys: Sequence[Any]) -> Any:
    asked = [dict(zip(keys, row, strict=True)) for row in zip(*keys.values(), strict=True)] if keys else [{}]
    answer = store.get_online_features(list(refs), asked).to_dict()
    return {ref.partition(":")[2]: answer[ref.partition(":")[2]] for ref in refs}


def materialised(store: FeatureStore) -> Any:
    store.materialize(at(0), at(4))
    found = [online(store, TRIPS, driver_id=[1, 2, 9])]
    store.materialize_incremental(at(6))
    return [*found, online(store, TRIPS, driver_id=[1, 2, 9])]


def pushed(folder: Path) -> list[Any]:
    found = two_views(folder)
    source = PushSource(name="pushed", batch_source=found[2].batch_source)
    stats = FeatureView(name="driver_stats", entities=[DRIVER], ttl=timedelta(0), schema=found[2].schema, source=source)
    return [*found[:2], stats]


def push(store: FeatureStore) -> Any:
    frame = pd.DataFrame({"driver_id": [1], "trips": [999], "event_time": [at(8)], "created": [at(8)]})
    store.push("pushed", frame, to=PushMode.ONLINE_AND_OFFLINE)
    return [history(entities((at(9), 1, "a"), (at(7.5), 1, "a")), TRIPS)(store), online(store, TRIPS, driver_id=[1])]


def saved(store: FeatureStore) -> Any:
    job = store.get_historical_features(ASKED.drop_duplicates(), BOTH)
    place = SavedDatasetFileStorage(str(store.config.repo_path / "saved.parquet"))
    found = [rows_of(store.create_saved_dataset(job, "kept", place).to_arrow())]
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        store.create_saved_dataset(job, "kept", place)
    return [*found, rows_of(store.get_saved_dataset("kept").to_arrow())]


def logged(store: FeatureStore) -> Any:
    config = LoggingConfig(destination=FileLoggingDestination(path=str(store.config.repo_path / "log")))
    service = FeatureService(name="logged", features=[store.get_feature_view("driver_stats")], logging_config=config)
    store.apply([service])
    times = pa.array([at(1), at(2)], pa.timestamp("us", "UTC"))
    row: dict[str, Any] = {"driver_id": [1, 2], "driver_stats__trips": [5, 6], "driver_stats__trips__status": [2, 2]}
    row |= {"driver_stats__trips__timestamp": times, "__request_id": ["x", "y"], "__log_timestamp": times}
    (store.config.repo_path / "log").mkdir()
    store.write_logged_features(pa.table(row), service)
    store.write_logged_features(pa.table(row), service)
    log = pq.read_table(store.config.repo_path / "log")
    return [log.num_rows, sorted(log["driver_id"].to_pylist())]


LATE = "a correction made after the label's moment leaks into it unless the caller asks; ours is as known by default"
SCENARIOS = {
    "several views": Scenario(two_views, history()),
    "full names": Scenario(two_views, history(full_feature_names=True)),
    "ttl": Scenario(with_ttl, history()),
    "ttl, to the microsecond": Scenario(
        with_ttl,
        history(entities((at(2), 1, "a"), (at(2) + MICROSECOND, 1, "a"), (at(1) - MICROSECOND, 1, "a"))),
    ),
    "without a created column": Scenario(lambda folder: two_views(folder, created_timestamp_column=""), history()),
    "revisions as known": Scenario(revised, history(REVISED, TRIPS, filter_by_created_timestamp=True)),
    "revisions by default": Scenario(
        revised,
        history(REVISED, TRIPS),
        differs=LATE,
        right=history(REVISED, TRIPS, filter_by_created_timestamp=True),
    ),
    "field mapping": Scenario(mapped, history(entities((at(2), 1), (at(4), 1), columns=["driver_id"]), TRIPS)),
    "aliased entities": Scenario(aliased, with_ends()),
    "a time column of another name": Scenario(
        two_views, history(ASKED.rename(columns={"event_timestamp": "asked at"}))
    ),
    "naive times are UTC": Scenario(
        two_views, history(ASKED.assign(event_timestamp=ASKED.event_timestamp.dt.tz_localize(None)))
    ),
    "nulls in keys": Scenario(
        two_views,
        history(
            ASKED.assign(
                customer_id=pd.array(["b", None, "a", None, "a"], "string"),
                driver_id=pd.array([1, 2, None, 1, 2], "Int64"),
            )
        ),
    ),
    "own columns": Scenario(two_views, history(ASKED.assign(label=list("vwxyz")).rename(columns={"label": "a \"b'"}))),
    "entities by SQL": Scenario(
        two_views,
        history("SELECT 1 AS driver_id, 'a' AS customer_id, TIMESTAMPTZ '2026-03-05 12:00+00' AS event_timestamp"),
        differs="it takes pandas frames only",
        right=history(entities((at(5.5), 1, "a"))),
    ),
    "no entity frame": Scenario(
        two_views,
        lambda store: rows_of(
            store.get_historical_features(features=TRIPS, start_date=at(0), end_date=at(4)).to_arrow()
        ),
        differs="it refuses start_date and end_date",
        right=history(entities(*((at(4), driver) for driver in (1, 2, 3)), columns=["driver_id"]), TRIPS),
    ),
    "on demand": Scenario(on_demand, history(ASKED.assign(factor=2), [*TRIPS, "scaled:product"])),
    "history of a view without entities": Scenario(without_entities, history(ASKED, ["rates:rate", *TRIPS])),
    "pull latest": Scenario(two_views, lambda store: pulled(store, "latest", at(2), at(5))),
    "pull latest of revisions": Scenario(revised, lambda store: pulled(store, "latest", at(0), at(2))),
    "pull all": Scenario(two_views, lambda store: pulled(store, "all", at(3), at(5))),
    "pull all with open ends": Scenario(two_views, lambda store: pulled(store, "all", None, None, created=None)),
    "pull all with an open start": Scenario(two_views, lambda store: pulled(store, "all", None, at(3))),
    "materialise": Scenario(two_views, materialised),
    "materialise a view without entities": Scenario(
        without_entities,
        lambda store: store.materialize(at(0), at(4)) or online(store, ["rates:rate", *TRIPS], driver_id=[1, 9]),
        differs="it fails for want of __dummy_id",
        right={"rate": [3, 3], "trips": [103, None]},
    ),
    "push": Scenario(pushed, push),
    "saved data set": Scenario(two_views, saved),
    "logged features": Scenario(two_views, logged),
}


@pytest.fixture(scope="module")
def repos(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], Sequence[Any]], str], FeatureStore]:
    """Give a repository with some objects, each made once."""

    @cache
    def repo(objects: Callable[[Path], Sequence[Any]], offline: str) -> FeatureStore:
        folder = tmp_path_factory.mktemp("repo")
        return open_repo(folder, offline, objects(folder))

    return repo


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_a_scenario_ends_as_with_feasts_own_store(scenario: Scenario, repos) -> None:
    ours, stock = repos(scenario.objects, OURS), repos(scenario.objects, STOCK)
    found = scenario.ask(ours)
    if not scenario.differs:
        assert found == scenario.ask(stock)
    else:
        assert answer_or_error(scenario.ask, stock) != found, f"no difference any more: {scenario.differs}"
        assert found == (scenario.right(stock) if callable(scenario.right) else scenario.right)


def answer_or_error(ask: Callable[[FeatureStore], Any], store: FeatureStore) -> Any:
    try:
        return ask(store)
    except Exception as error:  # noqa: BLE001 - whatever Feast raises is not the answer
        return error


# What Feast's universal tests do not notice.


def test_every_row_comes_back_once_in_its_order_with_its_own_columns(repos) -> None:
    asked = pd.concat([ASKED, ASKED.iloc[::-1]]).assign(Label=range(10), label=list("abcdefghij"))
    asked["odd 'name\""] = pd.Categorical(list("xyxyxyxyxy"))
    asked.index = pd.Index(range(10, 0, -1))
    found = repos(two_views, OURS).get_historical_features(asked, BOTH).to_df()
    pd.testing.assert_frame_equal(found[asked.columns], asked.reset_index(drop=True), check_dtype=False)
    assert [*found.columns] == [*asked.columns, "trips", "orders"]
    expected = [103, 201, 307, 103, None]
    assert found["trips"].astype("Int64").tolist() == [pd.NA if v is None else v for v in expected + expected[::-1]]


def test_of_rows_alike_in_all_times_the_last_written_counts(tmp_path: Path) -> None:
    rows = [row(at(1), driver_id=1, trips=trips) for trips in (5, 7, 6)]
    store = open_repo(
        tmp_path, OURS, [DRIVER, view("driver_stats", parquet(tmp_path / "r.parquet", rows), [DRIVER], "trips")]
    )
    asked = entities((at(1), 1), columns=["driver_id"])
    assert store.get_historical_features(asked, TRIPS).to_arrow()["trips"].to_pylist() == [6]
    assert pulled(store, "latest", None, None)[1:] == [[str(at(1)), "1", str(at(1)), "6"]]


def test_the_result_on_disk_as_sql_and_as_parquet(tmp_path: Path) -> None:
    store = open_repo(tmp_path, OURS, two_views(tmp_path), staging_location=str(tmp_path / "staged"))
    job = store.get_historical_features(ASKED, BOTH)
    expected = job.to_arrow().to_pylist()
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        assert con.sql(job.to_sql()).to_arrow_table().cast(job.to_arrow().schema).to_pylist() == expected
    assert job.supports_remote_storage_export()
    assert pq.read_table(job.to_remote_storage()).to_pylist() == expected
    assert store.config.offline_store.staging_location == str(tmp_path / "staged")


def test_files_globs_folders_and_delta_tables_read_alike(tmp_path: Path) -> None:
    night = pa.array([date(2026, 3, 1)] * 12, pa.date32())
    rows = pq.read_table(parquet(tmp_path / "one.parquet", drivers())).append_column("night", night)
    for part in range(3):
        place = tmp_path / "parts" / f"part={part}" / "x.parquet"
        place.parent.mkdir(parents=True)
        pq.write_table(rows.slice(4 * part, 4), place)
    Lake(tmp_path).replace("stats", rows, Commit(Nights(date(2026, 3, 1), date(2026, 3, 1))))
    Lake(tmp_path).replace("stats", rows, Commit(Nights(date(2026, 3, 1), date(2026, 3, 1))))
    paths = {
        "file": {"path": "one.parquet"},
        "glob": {"path": str(tmp_path / "parts" / "*" / "*.parquet")},
        "folder": {"path": str(tmp_path / "parts")},
        "delta": {"path": str(tmp_path / "stats"), "file_format": DeltaFormat()},
    }
    views = [view(name, source.pop("path"), [DRIVER], "trips", **source) for name, source in paths.items()]
    store = open_repo(tmp_path, OURS, [DRIVER, *views])
    found = store.get_historical_features(
        ASKED, [f"{name}:trips" for name in paths], full_feature_names=True
    ).to_arrow()
    assert [found[f"{name}__trips"].to_pylist() for name in paths] == [[103, 201, 307, 103, None]] * 4


def test_a_source_that_is_not_there_is_refused_in_one_sentence(tmp_path: Path) -> None:
    store = open_repo(tmp_path, OURS, [DRIVER, view("driver_stats", str(tmp_path / "no.parquet"), [DRIVER], "trips")])
    with pytest.raises(Rejected, match="source driver_stats_source: expected a Parquet file, glob or folder"):
        store.get_historical_features(ASKED, TRIPS).to_arrow()
    with pytest.raises(EntityTimestampInferenceException):
        store.get_historical_features(pd.DataFrame({"driver_id": [1]}), TRIPS)


def test_a_repository_of_ones_own_needs_the_type_alone(tmp_path: Path) -> None:
    (tmp_path / "feature_store.yaml").write_text(
        f"""project: mine
registry: registry.db
provider: local
online_store: {{type: sqlite, path: online.db}}
offline_store: {{type: {OURS}}}
entity_key_serialization_version: 3
"""
    )
    store = FeatureStore(repo_path=str(tmp_path))
    store.apply(two_views(tmp_path))
    assert rows_of(store.get_historical_features(ASKED, BOTH).to_arrow())[1:]
    store.materialize(at(0), at(4))
    store.materialize_incremental(at(9))
    assert online(store, BOTH, driver_id=[1, 3], customer_id=["a", "b"]) == {"trips": [107, 307], "orders": [6, 16]}


def test_no_attribute_of_feast_is_assigned() -> None:
    for module in Path(features.store.__path__[0]).glob("*.py"):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        theirs = {
            (name.asname or name.name).partition(".")[0]
            for node in imports
            for name in node.names
            if f"{getattr(node, 'module', None) or name.name}.".startswith("feast.")
        }
        stored = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Subscript))
        roots = {ast.unparse(node.value).partition(".")[0] for node in stored if isinstance(node.ctx, ast.Store)}
        assert not roots & theirs, module.name
        assert not {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} & {"setattr", "delattr"}, module.name


# Against an oracle in plain Python.

HOURS = st.one_of(st.none(), st.integers(0, 12))
FEATURE_ROWS = st.lists(st.tuples(st.sampled_from(["a", "b", None]), HOURS, HOURS), max_size=14)
ENTITY_ROWS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), HOURS), min_size=1, max_size=8)


def oracle(rows: Sequence[Any], key: str | None, t: int | None, ttl: int | None, created: bool) -> int | None:
    """Return the number, from 100, of the row that counts for a key at t."""
    best: tuple[Any, ...] = ()
    for number, (who, event, made) in enumerate(rows):
        if who is None or who != key or event is None or t is None or event > t:
            continue
        if created and (made is None or made > t):
            continue
        best = max(best, (event, made if created else 0, number))
    return 100 + best[-1] if best and (ttl is None or t is None or best[0] >= t - ttl) else None


@pytest.fixture(scope="module")
def random_repo(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    folder = tmp_path_factory.mktemp("random")
    made = [
        view(f"v{ttl}{created}", str(folder / "rows.parquet"), [CUSTOMER], "number", ttl=timedelta(hours=ttl),
             created_timestamp_column=created)
        for ttl in (0, 3) for created in ("created", "")
    ]  # fmt: skip
    return open_repo(folder, OURS, [CUSTOMER, *made])


@given(rows=FEATURE_ROWS, asked=ENTITY_ROWS)
@settings(max_examples=60)
def test_any_rows_give_what_the_oracle_gives(random_repo: FeatureStore, rows: Any, asked: Any) -> None:
    names, hours = ("customer_id", "event_time", "created"), lambda hour: None if hour is None else at(1, hours=hour)
    columns = zip(names, zip(*rows, strict=True) if rows else [(), (), ()], strict=True)
    stamps = pa.timestamp("us", "UTC")
    table = {
        name: pa.array(values, pa.string()) if name == "customer_id" else pa.array(map(hours, values), stamps)
        for name, values in columns
    }
    pq.write_table(
        pa.table(table | {"number": pa.array(range(100, 100 + len(rows)))}),
        random_repo.config.repo_path / "rows.parquet",
    )
    frame = pd.DataFrame(
        {
            "customer_id": [key for key, _ in asked],
            "event_timestamp": pd.to_datetime(pd.Series([hours(t) for _, t in asked], dtype="object"), utc=True),
        }
    )
    views = {f"v{ttl}{created}": (ttl or None, bool(created)) for ttl in (0, 3) for created in ("created", "")}
    refs = [f"{name}:number" for name in views]
    found = random_repo.get_historical_features(frame, refs, full_feature_names=True).to_arrow()
    assert found["customer_id"].to_pylist() == [key for key, _ in asked]
    for name, (ttl, created) in views.items():
        expected = [oracle(rows, key, t, ttl, created) for key, t in asked]
        assert found[f"{name}__number"].to_pylist() == expected

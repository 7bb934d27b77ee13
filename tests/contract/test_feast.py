"""Feast as Rapport uses it, for real: training sets as known then, and nights published into a Valkey server."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from features.catalogue import groups_of, standard
from features.compute.historical import historical
from features.compute.priors import prior_view
from features.declare.group import Group
from features.store.objects import service_of, view_of
from features.store.publish import publish
from features.store.published import path_of
from features.store.repo import apply_definitions, open_store
from features.store.training_frame import training_frame
from features.store.views_file import describe_live_view, describe_view
from infra.clock import FixedClock, Nights, cutoff
from infra.company.company import Company
from infra.company.source import Source
from infra.lake.commit import Commit
from infra.redis.online_store import online_store
from infra.settings import Settings
from infra.workspace import Workspace
from rapport_feast.errors import Rejected, Transient
from rapport_feast.publications import PUBLISH_LAG, publication_times
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.keys import entity_key, row_field
from rapport_feast.row.layout import FOREVER_US, Packing
from rapport_feast.times import EPOCH

FIRST, LAST = date(2026, 11, 1), date(2026, 11, 4)
HISTORY = Nights(FIRST, LAST)
DAY, HOUR, MICROSECOND = timedelta(days=1), timedelta(hours=1), timedelta(microseconds=1)


def workspace(home: Path, *, skip_unchanged: bool = True) -> Workspace:
    source = Source(name="shop", adapter="csv", fact="transactions", path="x", id_space="crm")
    company = Company(name="tiny", title="Tiny", sources=(source,))
    settings = Settings(home=home, skip_unchanged=skip_unchanged)
    return Workspace(settings, company, FixedClock(datetime(2027, 1, 1, tzinfo=UTC)))


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


@pytest.fixture
def group(ws: Workspace) -> Group:
    return groups_of(ws.company)[0]


def gold(group: Group, nights: Nights, customers: int = 5, seed: int = 0) -> pa.Table:
    """Return gold rows of some nights with a tenth of the values null; ``seed`` changes all values."""
    random, days = np.random.default_rng([seed, nights.first.toordinal()]), [*nights]
    rows = len(days) * customers
    at = pa.array(np.repeat(days, customers).tolist(), pa.date32())
    moments = pa.array([cutoff(day) for day in days for _ in range(customers)], pa.timestamp("us", "UTC"))
    columns = {group.entity.key: pa.array([f"C{i:06d}" for i in range(customers)] * len(days))}
    columns |= {"event_time": moments, "known_at": moments}
    for feature in group.outputs:
        values, empty = random.integers(0, 1000, rows), random.random(rows) < 0.1
        columns[feature.name] = pa.array(values, mask=empty).cast(
            {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}[feature.dtype]
        )
    return pa.table(columns | {"night": at})


def build(ws: Workspace, group: Group, nights: Nights, customers: int = 5, seed: int = 0) -> pa.Table:
    rows = gold(group, nights, customers, seed)
    ws.lake.replace(f"features/{group.view}", rows, Commit(nights))
    return rows


def spine(*rows: tuple[str, datetime]) -> pd.DataFrame:
    keys, times = zip(*rows, strict=True)
    return pd.DataFrame({"customer_id": keys, "event_time": pd.to_datetime(list(times)), "label": range(len(rows))})


def online_row(ws: Workspace, online: OnlineStore, group: Group, key: str) -> dict[str, object]:
    answer = open_store(ws, online).get_online_features(list(group.refs()), [{group.entity.key: key}]).to_dict()
    return {feature.name: answer[feature.name][0] for feature in group.outputs}


def gold_row(rows: pa.Table, group: Group, key: str, night: date) -> dict[str, object]:
    found = [row for row in rows.to_pylist() if row[group.entity.key] == key and row["night"] == night]
    return {feature.name: found[0][feature.name] for feature in group.outputs}


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


# Training sets.


def test_each_spine_row_comes_back_once_in_its_order(ws: Workspace, group: Group) -> None:
    rows = build(ws, group, HISTORY)
    asked = spine(
        ("C000003", noon(LAST)),
        ("nobody", noon(LAST)),
        ("C000001", noon(FIRST)),
        ("C000003", noon(LAST)),
        ("C000001", noon(LAST)),
    )
    asked.index = pd.Index([9, 4, 7, 4, 0])
    found = training_frame(ws, asked, group.refs(), LAST)
    pd.testing.assert_frame_equal(found[asked.columns], asked)
    assert list(found.columns) == [*asked.columns, *(feature.name for feature in group.outputs)]
    features = (
        found.drop(columns=asked.columns).astype(object).where(lambda frame: frame.notna(), None).to_dict("records")
    )
    before = gold_row(rows, group, "C000003", LAST - DAY)
    nothing = dict.fromkeys(before)
    assert features == [before, nothing, nothing, before, gold_row(rows, group, "C000001", LAST - DAY)]


def test_integers_with_nulls_stay_integers(ws: Workspace, group: Group) -> None:
    build(ws, group, HISTORY)
    found = training_frame(ws, spine(("C000001", noon(LAST)), ("nobody", noon(LAST))), group.refs(), LAST)
    kinds = {"int64": "Int64", "float64": "float64", "string": "string"}
    assert {f.name: str(found[f.name].dtype) for f in group.outputs} == {f.name: kinds[f.dtype] for f in group.outputs}


def test_a_late_correction_does_not_leak(ws: Workspace, group: Group) -> None:
    rows = gold(group, HISTORY)
    late = gold(group, Nights(FIRST, FIRST), seed=1).to_pydict()
    late |= {"known_at": [cutoff(LAST)] * 5, "night": [LAST] * 5}
    late["event_time"] = [moment + timedelta(hours=6) for moment in late["event_time"]]
    corrected = pa.concat_tables([rows.filter(pa.compute.field("night") == FIRST), pa.table(late, rows.schema)])
    ws.lake.replace(f"features/{group.view}", corrected, Commit(HISTORY))
    found = training_frame(ws, spine(("C000002", noon(LAST))), group.refs(), LAST)
    told = found.iloc[0][[f.name for f in group.outputs]].to_dict()
    known = gold_row(rows, group, "C000002", FIRST)
    assert {name: None if pd.isna(value) else value for name, value in told.items()} == known


def test_no_later_night_is_seen(ws: Workspace, group: Group) -> None:
    rows = build(ws, group, HISTORY)
    asked = spine(("C000002", noon(LAST + 5 * DAY)))
    found = training_frame(ws, asked, group.refs(), FIRST)
    told = found.iloc[0][[f.name for f in group.outputs]].to_dict()
    assert {name: None if pd.isna(value) else value for name, value in told.items()} == gold_row(
        rows, group, "C000002", FIRST
    )
    assert found["event_time"].tolist() == asked["event_time"].tolist()


def test_an_empty_spine_gives_an_empty_frame(ws: Workspace, group: Group) -> None:
    build(ws, group, HISTORY)
    found = training_frame(ws, spine(("C000001", noon(LAST))).head(0), group.refs(), LAST)
    assert len(found) == 0
    assert group.outputs[0].name in found.columns


@pytest.mark.parametrize("ref", ["customer__orders__30d", "nothing:customer__orders__30d"])
def test_an_unknown_reference_is_refused(ws: Workspace, ref: str) -> None:
    with pytest.raises(Rejected, match="feature reference"):
        training_frame(ws, spine(("C000001", noon(LAST))), [ref], LAST)


def test_a_spine_without_a_time_zone_is_refused(ws: Workspace, group: Group) -> None:
    with pytest.raises(Rejected, match="aware"):
        training_frame(ws, spine(("C000001", noon(LAST).replace(tzinfo=None))), group.refs(), LAST)


# When a night counts as published.


def workspace_at(ws: Workspace, now: datetime) -> Workspace:
    return replace(ws, clock=FixedClock(now))


def served(ws: Workspace, group: Group, *moments: datetime, night: date = LAST) -> list[Any]:
    """Return what training takes for one customer at some moments."""
    found = training_frame(ws, spine(*(("C000002", moment) for moment in moments)), group.refs(), night)
    rows = found[[f.name for f in group.outputs]].astype(object)
    return rows.where(rows.notna(), None).to_dict("records")


def test_without_a_record_a_night_counts_from_its_declared_lag(ws: Workspace, group: Group) -> None:
    rows = build(ws, group, HISTORY)
    opens = cutoff(LAST - DAY) + PUBLISH_LAG
    before, after = (gold_row(rows, group, "C000002", day) for day in (LAST - 2 * DAY, LAST - DAY))
    assert served(ws, group, opens - MICROSECOND, opens) == [before, after]


@pytest.mark.row("T7")
@pytest.mark.row("V1")
def test_a_night_counts_from_when_it_was_published(ws: Workspace, group: Group) -> None:
    before, late = cutoff(LAST - DAY) + PUBLISH_LAG, cutoff(LAST) + 9 * HOUR
    old = build(ws, group, Nights(FIRST, LAST - DAY))
    publish(workspace_at(ws, before - HOUR), LAST - DAY)
    rows = build(ws, group, Nights(LAST, LAST))
    publish(workspace_at(ws, late), LAST)
    nights = {day: gold_row(old, group, "C000002", day) for day in Nights(FIRST, LAST - DAY)}
    nights[LAST] = gold_row(rows, group, "C000002", LAST)
    # History that was filled in behind the first published night was served to nobody: the declared lag stands.
    lag = cutoff(FIRST) + PUBLISH_LAG
    asked = (lag - MICROSECOND, lag, before - HOUR - MICROSECOND, before - HOUR, late - MICROSECOND, late)
    expected = [
        dict.fromkeys(nights[LAST]),
        *(nights[day] for day in (FIRST, FIRST + DAY, LAST - DAY, LAST - DAY, LAST)),
    ]
    assert served(ws, group, *asked) == expected


def test_a_night_published_again_keeps_its_time_unless_its_rows_changed(ws: Workspace, group: Group) -> None:
    old = build(ws, group, HISTORY)
    first, again = cutoff(LAST) + HOUR, cutoff(LAST) + 5 * HOUR
    publish(workspace_at(ws, first), LAST)
    build(ws, group, Nights(LAST, LAST))
    rebuilt = gold_row(ws.lake.read(f"features/{group.view}"), group, "C000002", LAST)
    publish(workspace_at(ws, first), LAST)
    known = publication_times(path_of(ws), group.view)[LAST]
    ws.lake.replace(f"features/{group.view}", old.filter(pa.compute.field("night") == LAST), Commit(Nights(LAST, LAST)))
    publish(workspace_at(ws, again), LAST)
    changed = publication_times(path_of(ws), group.view)[LAST]
    ws.lake.replace(
        f"features/{group.view}",
        old.filter(pa.compute.field("night") == LAST).sort_by([(group.entity.key, "descending")]),
        Commit(Nights(LAST, LAST)),
    )
    publish(workspace_at(ws, again + HOUR), LAST)
    assert publication_times(path_of(ws), group.view) == {LAST: changed}
    assert (known, changed) == (first, again)
    newest = gold_row(old, group, "C000002", LAST)
    assert rebuilt != newest
    before = gold_row(old, group, "C000002", LAST - DAY)
    assert served(ws, group, again - MICROSECOND, again) == [before, newest]


@pytest.mark.row("V1")
def test_a_live_group_is_computed_at_the_very_moment(small_ring: Workspace) -> None:
    group = next(group for group in groups_of(small_ring.company) if group.served == "live")
    night = small_ring.lake.newest(f"features/{group.view}") or LAST
    keys = small_ring.lake.read(f"features/{group.view}", Nights(night, night))[group.entity.key].to_pylist()[:20]
    times = [cutoff(night) - number * HOUR for number in range(len(keys))]
    asked = pd.DataFrame({group.entity.key: keys[::-1], "event_time": pd.to_datetime(times).as_unit("us")})
    refs = [f"{group.live_view}:{feature.name}" for feature in group.outputs]
    found = training_frame(small_ring, asked, refs, night)
    table = pa.table({**asked.to_dict("list"), "position": range(len(keys))})
    table = table.set_column(1, "event_time", table["event_time"].cast(pa.timestamp("us", "UTC")))
    expected = historical(small_ring, group, table).drop_columns("position").to_pylist()
    rows = found[[feature.name for feature in group.outputs]].astype(object)
    assert rows.where(rows.notna(), None).to_dict("records") == expected
    assert any(value for row in expected for value in row.values())


# Publishing.


def test_what_is_online_equals_gold(ws: Workspace, group: Group) -> None:
    rows = build(ws, group, HISTORY)
    with online_store(ws) as online:
        found = publish(ws, LAST)
        assert found["keys"] == 5
        for number in range(5):
            key = f"C{number:06d}"
            assert online_row(ws, online, group, key) == gold_row(rows, group, key, LAST)


def test_the_packed_row_of_a_night_reads_in_the_order_that_is_published(ws: Workspace, group: Group) -> None:
    rows = build(ws, group, HISTORY)
    with online_store(ws) as online, online.client() as client:
        publish(ws, LAST)
        told = json.loads((ws.folder("feast") / "views.json").read_text())
        view = told["views"][group.view]
        assert [*view["features"]] == [feature.name for feature in group.outputs]
        row = client.hget(key_of("C000002"), row_field(group.view))
        found = Packing(view["features"], view["version"]).unpack(row)
        assert dict(zip(view["features"], found.values, strict=True)) == gold_row(rows, group, "C000002", LAST)
        at = (cutoff(LAST) - EPOCH) // MICROSECOND
        assert (found.event_us, found.known_us, found.valid_until_us) == (at, at, FOREVER_US)
        assert (view["served"], view["prior"], told["segment"]) == ("nightly", prior_view(group), None)


def test_a_live_view_names_its_nightly_one_and_what_is_finished_when_it_is_read() -> None:
    live = [group for group in standard().groups if group.served == "live"]
    for group in live:
        nightly, told = describe_view(group), describe_live_view(group)
        assert (told["served"], told["nightly"], told["prior"]) == ("live", group.view, nightly["prior"])
        assert told["freshness_seconds"] == group.live_freshness.total_seconds() < nightly["freshness_seconds"]
        kinds = {name: measure.kind for name, (measure, _) in group.measured.items()}
        assert told["elapsed"] == [name for name, kind in kinds.items() if kind in ("since", "age")]
        assert set(told["derived"]) <= {one.name for one in group.derived}
    assert any(describe_live_view(group)["elapsed"] for group in live)


def test_what_is_usual_is_online_for_everybody(ws: Workspace, group: Group) -> None:
    rows = build(ws, group, HISTORY)
    with online_store(ws) as online, online.client() as client:
        publish(ws, LAST)
        packing = Packing({feature.name: feature.dtype for feature in group.outputs}, group.version)
        key = entity_key("tiny", {"segment_id": ("string", "*")})
        prior = dict(
            zip(packing.names, packing.unpack(client.hget(key, row_field(prior_view(group)))).values, strict=True)
        )
    night = [row for row in rows.to_pylist() if row["night"] == LAST]
    for feature in group.outputs:
        held = sorted(row[feature.name] for row in night if row[feature.name] is not None)
        middle = held[(len(held) - 1) // 2]
        if feature.dtype == "float64":
            middle = (middle + held[len(held) // 2]) / 2
        if feature.dtype == "string":
            middle = max(held, key=lambda word: (held.count(word), [-ord(letter) for letter in word]))
        assert prior[feature.name] == middle, feature.name


def key_of(customer: str) -> bytes:
    return entity_key("tiny", {"customer_id": ("string", customer)})


def test_publishing_twice_changes_nothing(ws: Workspace, group: Group) -> None:
    build(ws, group, HISTORY)
    with online_store(ws) as online:
        publish(ws, LAST)
        before = online.digest()
        assert publish(ws, LAST)["skipped"]
        assert "skipped" not in publish(workspace(ws.settings.home, skip_unchanged=False), LAST)
        assert online.digest() == before


def test_an_older_night_published_again_overwrites_nothing(ws: Workspace, group: Group) -> None:
    build(ws, group, Nights(FIRST, FIRST))
    with online_store(ws) as online:
        publish(ws, FIRST)
        rows = build(ws, group, Nights(LAST, LAST))
        publish(ws, LAST)
        before = online.digest()
        build(ws, group, Nights(FIRST, FIRST), seed=9)
        publish(ws, FIRST)
        assert online.digest() == before
        assert online_row(ws, online, group, "C000002") == gold_row(rows, group, "C000002", LAST)


def test_nights_one_by_one_end_like_one_pass(tmp_path: Path) -> None:
    digests = []
    for home, nights in (("one", [LAST]), ("each", [*HISTORY])):
        ws = workspace(tmp_path / home)
        group = groups_of(ws.company)[0]
        for night in nights:
            build(ws, group, Nights(night, night) if home == "each" else HISTORY)
            if home == "one":
                for day in HISTORY:
                    build(ws, group, Nights(day, day))
            publish(ws, night)
        with online_store(ws) as online:
            digests.append(online.digest())
    assert digests[0] == digests[1]


def test_a_night_built_anew_replaces_its_values(ws: Workspace, group: Group) -> None:
    build(ws, group, HISTORY)
    with online_store(ws) as online:
        publish(ws, LAST)
        rows = build(ws, group, Nights(LAST, LAST), seed=3, customers=4)
        publish(ws, LAST)
        assert online_row(ws, online, group, "C000001") == gold_row(rows, group, "C000001", LAST)
        before = gold_row(ws.lake.read(f"features/{group.view}"), group, "C000004", LAST - DAY)
        assert online_row(ws, online, group, "C000004") == before


def test_a_store_that_lost_its_keys_is_filled_again(ws: Workspace, group: Group) -> None:
    build(ws, group, HISTORY)
    with online_store(ws) as online:
        publish(ws, LAST)
        before = online.digest()
        with online.client() as client:
            client.delete(online.keys()[0])
        publish(ws, LAST)
        assert online.digest() == before
        with online.client() as client:
            client.flushall()
        publish(ws, LAST)
        assert online.digest() == before


@pytest.fixture
def killed_after_1000(ws: Workspace) -> Iterator[threading.Event]:
    """Kill the embedded server once it holds 1,000 keys."""
    done, stop = threading.Event(), threading.Event()

    def watch() -> None:
        with online_store(ws) as online, online.client() as client:
            pid = client.info("server")["process_id"]
            while not stop.is_set():
                if client.dbsize() >= 1000:
                    os.kill(pid, signal.SIGKILL)
                    done.set()
                    return
                time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield done
    stop.set()
    watcher.join()


def test_the_second_try_finishes_after_the_store_was_killed(
    tmp_path: Path, ws: Workspace, group: Group, killed_after_1000: threading.Event
) -> None:
    undisturbed = workspace(tmp_path / "undisturbed")
    for each in (ws, undisturbed):
        build(each, group, Nights(LAST, LAST), customers=6_000)
    with pytest.raises(Transient, match="does not answer"):
        publish(ws, LAST)
    assert killed_after_1000.wait(1)
    publish(ws, LAST)
    publish(undisturbed, LAST)
    with online_store(ws) as online, online_store(undisturbed) as other:
        assert online.count() == 6_001, "the customers, and the priors of everybody"
        assert online.digest() == other.digest()


# Definitions.


def test_definitions_are_applied_once_with_a_service_for_each_model(ws: Workspace, group: Group) -> None:
    build(ws, group, HISTORY)
    publish(ws, LAST)
    store = open_store(ws)
    services = {"churn": group.refs()[:3]}
    assert apply_definitions(ws, store, services)
    assert not apply_definitions(ws, store, services)
    assert not apply_definitions(ws, store)
    service = store.get_feature_service("churn")
    assert [f.name for p in service.feature_view_projections for f in p.features] == [
        r.partition(":")[2] for r in services["churn"]
    ]
    view = store.get_feature_view(group.view)
    assert view.tags == {
        "rapport.group": group.name,
        "served": "nightly",
        "rapport.packed": ",".join(feature.name for feature in group.outputs),
        "version": group.version,
        "owner": group.owner,
        "purpose": group.purpose,
    }
    assert {f.name for f in view.features} == {f.name for f in group.outputs}


def test_a_service_names_known_views_only(tmp_path: Path, group: Group) -> None:
    with pytest.raises(Rejected, match="service churn"):
        service_of("churn", ["other:feature"], {group.view: view_of(group, tmp_path)})


def test_the_embedded_server_is_gone_afterwards(ws: Workspace, group: Group) -> None:
    build(ws, group, HISTORY)
    publish(ws, LAST)
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(ws.folder("valkey")) not in listed

"""Faults of publishing: old windows again, two publishers at once, a killed run, a store that came back empty."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from features.catalogue import groups_of
from features.store.publish import publish, refill_if_empty
from infra.clock import FixedClock, Nights, cutoff
from infra.company.company import Company
from infra.company.source import Source
from infra.lake.commit import Commit
from infra.redis.embedded import embedded_server
from infra.redis.online_store import online_store, online_store_at
from infra.settings import ROOT, Settings
from infra.workspace import Workspace
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.encoding import ViewForm
from rapport_feast.row.keys import entity_key, feature_field, published_key, row_field, time_field
from rapport_feast.row.layout import FOREVER_US, Packing
from rapport_feast.row.writer import RowWriter
from rapport_feast.times import EPOCH
from rapport_feast.value_form import decode_time, decode_value
from tests.contract.test_feast import build, gold_row, online_row
from tests.faults.publishers import AT, FORM, KEYS, PROJECT, materialise

SUBJECTS = 20_000  # F5 says 100,000 within a minute; a fifth of them within a fifth of it
DAY = timedelta(days=1)
FIRST, LAST = date(2026, 11, 1), date(2026, 11, 4)


@pytest.fixture
def online(tmp_path: Path) -> Iterator[OnlineStore]:
    with embedded_server(tmp_path) as server:
        yield online_store_at(f"redis://:{server.password}@127.0.0.1:{server.port}/0", PROJECT)


def tiny(home: Path) -> Workspace:
    source = Source(name="shop", adapter="csv", fact="transactions", path="x", id_space="crm")
    company = Company(name="tiny", title="Tiny", sources=(source,))
    return Workspace(Settings(home=home), company, FixedClock(datetime(2027, 1, 1, tzinfo=UTC)))


def child(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.faults.publishers", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


# F13: two publishers on the same keys.


class Watch:
    """Follows keys while others write, and remembers what it saw."""

    def __init__(self, online: OnlineStore) -> None:
        self.keys = [entity_key(PROJECT, {"customer_id": ("string", f"C{i:03d}")}) for i in range(KEYS)]
        self.online, self.seen, self.reads = online, [(-1, -1)] * KEYS, 0
        self.fields = [feature_field(FORM.view, "event"), feature_field(FORM.view, "known"), row_field(FORM.view)]

    def look(self, client: redis.Redis) -> None:
        """Read every key once; what it says may never be older than what it said before, nor torn."""
        with client.pipeline(transaction=False) as pipe:
            for key in self.keys:
                pipe.execute_command("HMGET", key, *self.fields, time_field(FORM.view))
            for place, (event, known, row, stamp) in enumerate(pipe.execute()):
                if row is None:
                    continue
                held = FORM.packing.unpack(row)
                order = (held.event_us // 1_000_000, held.known_us)
                assert (decode_value(event), decode_value(known)) == order == held.values
                assert micros(decode_time(stamp)) == held.event_us
                assert order >= self.seen[place], "it went back"
                self.seen[place] = order
                self.reads += 1


@pytest.mark.row("F13")
def test_two_publishers_race_and_the_newest_always_wins(online: OnlineStore) -> None:
    writers = [child("race", online.url, seed, 10_000) for seed in (1, 2)]
    watch = Watch(online)
    with online.client() as client:
        while any(writer.poll() is None for writer in writers):
            watch.look(client)
        watch.look(client)
    assert [writer.returncode for writer in writers] == [0, 0]
    best = dict.fromkeys(range(KEYS), (-1, -1))
    for seed in (1, 2):
        random = np.random.default_rng(seed)
        for _ in range(200):
            event, known = random.integers(1, 400, 50), random.integers(0, 20, 50)
            for place, order in zip(random.integers(0, KEYS, 50), zip(event, known, strict=True), strict=True):
                best[int(place)] = max(best[int(place)], order)
    assert watch.seen == list(best.values())
    assert watch.reads > KEYS


# F12: an older window is published while newer values go on arriving.


@pytest.mark.row("F12")
def test_an_older_window_published_again_takes_nothing_back(tmp_path: Path, online: OnlineStore) -> None:
    rows, home = 40_000, tmp_path / "repo"
    home.mkdir()
    write_rows(home, rows, AT)
    form = ViewForm(PROJECT, "customer_id", "stats", Packing({"n": "int64", "x": "float64"}, "00000000"))
    ids = [f"C{number:06d}" for number in range(0, rows, 40)]
    live = pa.table({"n": np.full(len(ids), -1), "x": np.zeros(len(ids))})
    keys = [entity_key(PROJECT, {"customer_id": ("string", key)}) for key in ids]
    seen, late = np.zeros(len(ids), np.int64), child("materialise", online.url, home)
    with RowWriter(online) as writer, online.client() as client:
        for step in range(1, 10_000):
            writer.write(form, ids, live, micros(AT) + step, micros(AT) + step)
            with client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hget(key, time_field("stats"))
                now = np.array([micros(decode_time(stamp)) for stamp in pipe.execute()])
            assert (now >= seen).all(), "event time went back"
            seen = now
            if late.poll() is not None:
                break
        assert late.returncode == 0
        assert (seen == micros(AT) + step).all()
        assert online.count() == rows
        held = client.hgetall(entity_key(PROJECT, {"customer_id": ("string", "C000001")}))
    assert decode_value(held[feature_field("stats", "n")]) == 1, "and what nothing newer stood in the way of arrived"


def write_rows(home: Path, rows: int, at: datetime) -> None:
    times = pa.array([at] * rows, pa.timestamp("us", "UTC"))
    columns = {"customer_id": [f"C{i:06d}" for i in range(rows)], "at": times, "made": times}
    pq.write_table(pa.table(columns | {"n": np.arange(rows), "x": np.arange(rows) / 3}), home / "rows.parquet")


# A killed materialisation.


@contextmanager
def killed_at(online: OnlineStore, home: Path, keys: int) -> Iterator[None]:
    """Kill a materialisation once so many keys are online."""
    writer = child("materialise", online.url, home)
    with online.client() as client:
        deadline = time.monotonic() + 60
        while client.dbsize() < keys and writer.poll() is None and time.monotonic() < deadline:
            time.sleep(0.0005)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        yield


@pytest.mark.slow
def test_a_killed_materialisation_does_the_rest_and_ends_the_same(tmp_path: Path, online: OnlineStore) -> None:
    rows, home = 100_000, tmp_path / "repo"
    home.mkdir()
    write_rows(home, rows, AT)
    with killed_at(online, home, 50_000), online.client() as client:
        marks = list(client.scan_iter("_materialise:*"))
        assert len(marks) == 1
        portions = int(client.hget(marks[0], "portions") or 0)
        assert 0 < portions < 5, "killed in the middle"
        before = client.info("stats")["total_commands_processed"]
        materialise(online.url, home)
        commands = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        assert online.count() == rows
        assert not list(client.scan_iter("_materialise:*"))
        assert before > 0
    assert commands < rows * 1.5, "what was online was not written again"
    assert not list((home / ".materialize").glob("*/")), "nothing is left lying about"
    resumed = online.digest()
    with online.client() as client:
        client.flushdb()
    materialise(online.url, home)
    assert online.digest() == resumed


def test_a_killed_run_is_not_trusted_when_the_store_was_emptied_or_the_rows_changed(
    tmp_path: Path, online: OnlineStore
) -> None:
    rows, home = 60_000, tmp_path / "repo"
    home.mkdir()
    write_rows(home, rows, AT)
    with killed_at(online, home, 30_000), online.client() as client:
        client.flushdb()
    materialise(online.url, home)
    assert online.count() == rows
    with online.client() as client:
        client.flushdb()
    with killed_at(online, home, 30_000):
        write_rows(home, rows + 1, AT + DAY)
    materialise(online.url, home)
    assert online.count() == rows + 1
    with online.client() as client:
        stamps = {client.hget(key, time_field("stats")) for key in (online.keys()[0], online.keys()[-1])}
    assert {decode_time(stamp) for stamp in stamps} == {AT + DAY}


# F5: the store came back empty.


@pytest.mark.row("F5")
def test_a_store_that_came_back_empty_is_filled_again(tmp_path: Path) -> None:
    ws = tiny(tmp_path)
    group = groups_of(ws.company)[0]
    rows = build(ws, group, Nights(LAST, LAST), customers=SUBJECTS)
    with online_store(ws) as online:
        publish(ws, LAST)
        assert not refill_if_empty(ws)
        before = online.digest()
        with online.client() as client:
            client.flushall()
            start = time.monotonic()
            assert refill_if_empty(ws)
            assert time.monotonic() - start < 60 * SUBJECTS / 100_000
            assert client.hget(published_key(ws.company.name), "night") == str(LAST).encode()
        assert online.digest() == before
        assert online_row(ws, online, group, "C000007") == gold_row(rows, group, "C000007", LAST)
        assert not refill_if_empty(ws)


def test_nothing_is_filled_where_nothing_was_published(tmp_path: Path) -> None:
    assert not refill_if_empty(tiny(tmp_path))


# A night built again.


def test_a_night_built_again_replaces_its_rows_without_a_gap(tmp_path: Path) -> None:
    ws = tiny(tmp_path)
    group = groups_of(ws.company)[0]
    build(ws, group, Nights(FIRST, LAST))
    with online_store(ws) as online:
        publish(ws, LAST)
        newer = cutoff(LAST) + timedelta(hours=3)
        form = ViewForm(
            "tiny",
            group.entity.key,
            group.view,
            Packing({f.name: f.dtype for f in group.outputs}, group.version),
        )
        kept = build(ws, group, Nights(LAST, LAST), customers=4, seed=5).slice(0, 1)
        with RowWriter(online) as writer:
            writer.write(form, ["C000004"], kept, micros(newer), micros(newer), FOREVER_US)
        publish(ws, LAST)
        rows = ws.lake.read(f"features/{group.view}")
        assert online_row(ws, online, group, "C000000") == gold_row(rows, group, "C000000", LAST)
        lost = online_row(ws, online, group, "C000004")
        assert lost == {feature.name: kept[feature.name][0].as_py() for feature in group.outputs}, "newer stays"
        ws.lake.replace(
            f"features/{group.view}",
            rows.filter(pa.compute.field("night") == LAST).slice(1),
            Commit(Nights(LAST, LAST)),
        )
        publish(ws, LAST)
        first = rows.filter(pa.compute.field("night") == LAST)[group.entity.key][0].as_py()
        assert online_row(ws, online, group, first) == gold_row(rows, group, first, LAST - DAY)

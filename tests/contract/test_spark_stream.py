"""The stream on Spark: the very rows that the runner writes without it, whatever stops on the way (R58)."""

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from features.catalogue import standard
from features.compute.build import build
from features.store.published import path_of, write_record
from features.stream import spark
from features.stream.runner import Runner
from features.stream.spark import spark_runner
from infra.log.event_log import Entry, EventLog
from infra.log.open import event_log
from infra.log.spark_reader import LogReader
from infra.redis.embedded import embedded_server
from infra.redis.online_store import online_store
from infra.workspace import Workspace
from rapport_feast.publications import read_record
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.keys import row_field, stream_key
from rapport_feast.times import DAY
from tests.faults.proxy import proxy
from tests.streamed_companies import HandClock, company, streamed
from validation.bronze.ingest import ingest
from validation.gate.run import gate

pytest_plugins = ("tests.kafka",)
NIGHT = date(2026, 5, 25)
START = datetime(2026, 5, 25, 9, tzinfo=UTC)
PEOPLE, TICKETS = [f"C{n}" for n in range(12)], [f"t{n}" for n in range(6)]
GROUPS = ("customer_activity", "ticket_messages")
SOURCES = ("behaviours", "interactions", "identity_links")
PATIENCE = 90.0
Event = dict[str, Any]
Rows = dict[bytes, dict[bytes, bytes]]
Events = list[tuple[str, bytes]]


class Day:
    """Seeded events, with everything that makes a stream hard."""

    def __init__(self) -> None:
        self.chance, self.said = random.Random(58), 0
        self.kept: list[tuple[str, Event]] = []

    def some(self, now: datetime, many: int) -> Events:
        """Return events that come at a moment: some late, twice, revised, withdrawn, or no events at all."""
        told = [self._new(now) for _ in range(many)]
        again = self.chance.sample(self.kept, min(len(self.kept), many // 3))
        for number, (source, event) in enumerate(again):
            revised = {"revision": event["revision"] + 1, "retracted": number % 3 == 2}
            revised |= {"duration_ms": 7} if source == "behaviours" else {"text": "thank you"}
            told.append((source, event | (revised if number % 3 else {})))
        self.kept += told[:many]
        self.chance.shuffle(told)
        return [*((source, json.dumps(event).encode()) for source, event in told), ("behaviours", b'{"event_id": "x"}')]

    def _new(self, now: datetime) -> tuple[str, Event]:
        self.said += 1
        late = timedelta(hours=30 * self.chance.random()) if self.said % 5 == 0 else timedelta(seconds=self.said % 200)
        event = {"event_id": f"e{self.said}", "event_time": (now - late).isoformat(), "revision": 1}
        pick = self.chance.choice
        if self.said % 3:
            event |= {"source_id": pick([*PEOPLE, "V1", "V2"]), "kind": pick(["page_view", "search", "login"])}
            event |= {"session_id": f"s{self.said % 7}", "page": pick(["home", "help", "shop"])}
            return "behaviours", event | {"duration_ms": self.chance.randrange(60_000)}
        event |= {"source_id": pick(PEOPLE), "thread_id": pick(TICKETS), "author_role": pick(["customer", "agent"])}
        text = pick(["this is not working, I am angry!!", "fine, thank you", "WHERE is my order?"])
        return "interactions", event | {"channel": "chat", "visibility": "private", "text": text, "action": None}


def link(now: datetime, visitor: str, customer: str) -> tuple[str, bytes]:
    """Return the event that a visitor turned out to be a customer."""
    told = {"event_id": visitor, "source_id": visitor, "event_time": now.isoformat(), "kind": "linked"}
    return "identity_links", json.dumps(told | {"customer": customer, "backwards": True}).encode()


def append(log: EventLog, events: Events) -> None:
    """Append events one after another."""
    for source, payload in events:
        log.append(source, [payload])


def later(ws: Workspace, **by: float) -> datetime:
    """Move the clock; returns the moment."""
    assert isinstance(ws.clock, HandClock)
    ws.clock.at += timedelta(**by)
    return ws.clock.at


def rows(online: OnlineStore) -> Rows:
    """Return everything that stands online: both forms of each row."""
    with online.client() as client:
        return {key: client.hgetall(key) for key in online.keys()}  # noqa: SIM118  # it is no mapping


def heartbeat(online: OnlineStore) -> dict[bytes, bytes]:
    """Return how far the stream says that it came."""
    with online.client() as client:
        return client.hgetall(stream_key(online.project))


def number(meter: Any) -> float:
    """Return what a meter says."""
    return float(next(iter(meter.collect())).samples[0].value)


def counted(runner: Runner) -> tuple[float, float]:
    """Return how many entries were applied, and how many facts were new."""
    return number(runner.metrics.entries), number(runner.metrics.facts)


@contextmanager
def running(runner: Runner) -> Iterator[threading.Thread]:
    """Let Spark follow the log, and stop it."""
    faults: list[Exception] = []

    def follow() -> None:
        try:
            spark.run(runner)
        except Exception as fault:
            faults.append(fault)
            raise

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield thread
    finally:
        runner.stopping.set()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert faults == []


def until(done: Callable[[], bool], thread: threading.Thread) -> None:
    """Wait for something that the stream does."""
    end = time.monotonic() + PATIENCE
    while not done():
        assert thread.is_alive(), "the stream ended"
        assert time.monotonic() < end, "the stream does not come so far"
        time.sleep(0.05)


def begun(home: Path) -> tuple[Workspace, Day]:
    """Return a company of streamed sources after its first night, in the morning, and what goes on there."""
    ws, day = company(home, *(streamed(fact) for fact in SOURCES), at=START), Day()
    with event_log(ws) as log:
        append(log, [*day.some(START, 60), link(START, "V1", "C1")])
    later(ws, days=1)
    night(ws, NIGHT)
    return ws, day


def night(ws: Workspace, day: date) -> None:
    """Run a night as far as the stream needs it."""
    for step in (ingest, gate, build):
        step(ws, day)
    record = read_record(path_of(ws))
    record.nights[str(day)] = {"published_at": ws.clock.now().isoformat(), "run": ""}
    write_record(path_of(ws), record)


# Filters of warnings are the process's, and two runners in two threads set theirs at once.
@pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result")
@pytest.mark.assure
@pytest.mark.row("R58")
def test_spark_writes_the_rows_of_the_plain_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte by byte: after late, repeated, revised and withdrawn events, an outage, a stop, and a hand-over."""
    monkeypatch.setattr("features.stream.runner.CHECK_SECONDS", 0.0)
    ws, day = begun(tmp_path)
    with ExitStack() as stack:
        log, store = stack.enter_context(event_log(ws)), stack.enter_context(online_store(ws))
        other, between = stack.enter_context(embedded_server(tmp_path)), stack.enter_context(proxy(store.port))
        beside = replace(store, port=other.port, password=other.password)
        plain = Runner(ws, log, beside)
        stack.callback(plain.close)

        def agree(runner: Runner, thread: threading.Thread) -> None:
            """Let both apply the same, and compare everything that is online."""
            plain.drain()
            until(lambda: heartbeat(store) == heartbeat(beside), thread)
            found = rows(store)
            assert found == rows(beside)
            assert found != seen[-1], "nothing happened"
            seen.append(found)

        seen: list[Rows] = [{}]
        with spark_runner(ws, log, replace(store, port=between.port)) as runner, running(runner) as thread:
            agree(runner, thread)
            views = {field for fields in seen[-1].values() for field in fields if field.startswith(b"_row:")}
            assert views == {row_field(standard().group(name).live_view) for name in GROUPS}
            append(log, day.some(later(ws, minutes=3), 40))
            agree(runner, thread)
            between.weather.refuse = True
            between.cut()
            append(log, [*day.some(later(ws, minutes=3), 20), link(ws.clock.now(), "V2", "C2")])
            until(lambda: number(runner.metrics.waits) > 0, thread)
            between.weather.refuse = False
            agree(runner, thread)
            assert counted(runner) == counted(plain) > (60, 60)
            later(ws, hours=16)
            plain.drain()
            night(ws, NIGHT + DAY)
            plain.drain()
            until(lambda: number(runner.metrics.hand_overs) == number(plain.metrics.hand_overs) == 1, thread)
            agree(runner, thread)
        append(log, day.some(later(ws, minutes=30), 20))  # while nobody looks
        plain.drain()
        before = counted(plain)
        with spark_runner(ws, log, store) as runner, running(runner) as thread:
            agree(runner, thread)
            append(log, day.some(later(ws, minutes=3), 20))
            agree(runner, thread)
            came = tuple(now - then for now, then in zip(counted(plain), before, strict=True))
            assert counted(runner) == came


@pytest.mark.parametrize("kind", ["valkey", "kafka"])
def test_the_reader_of_spark_goes_through_the_log_in_bounded_spans(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """However far the log is ahead: each entry once, in order, and none that comes meanwhile."""
    url = {"log_url": request.getfixturevalue("broker").url} if kind == "kafka" else {}
    ws = company(tmp_path, name=f"c{os.urandom(6).hex()}", **url)
    with event_log(ws) as log:
        log.append("transactions", [b"before"])
        first = log.end()
        assert first is not None
        payloads = [str(number).encode() for number in range(25)]
        log.append("transactions", payloads)
        options = {"after": str(first[0]), "batch": "10", "environment": json.dumps(ws.environment())}
        reader = LogReader(options)
        spans: list[list[tuple[int, int, str, bytes]]] = []
        start = reader.initialOffset()
        while (end := reader.latestOffset(start, reader.getDefaultReadLimit())) != start:
            (span,) = reader.partitions(start, end)
            log.append("transactions", [b"meanwhile"] if len(spans) == 2 else [])
            spans.append([*reader.read(span)])
            start = end
        reader.stop()
        found = [entry for span in spans for entry in span]
        assert [len(span) for span in spans] == [10, 10, 5, 1]
        assert [entry[3] for entry in found] == [*payloads, b"meanwhile"]
        assert [Entry(*entry) for entry in found] == log.read(first[0])
        assert reader.partitions(start, start) == []

"""Both event logs, on real servers: order, durability, moments that never fall, trims, groups and bounds."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from infra.log.event_log import MAX_PAYLOAD_BYTES, Entry, EventLog
from infra.log.open import event_log
from infra.workspace import Workspace
from rapport_feast.errors import Rejected, Transient
from rapport_feast.times import micros
from tests.kafka import Broker
from tests.streamed_companies import HandClock, company

pytest_plugins = ("tests.kafka",)
START = datetime(2026, 5, 25, 12, tzinfo=UTC)
US = micros(START)
Open = Callable[..., AbstractContextManager[EventLog]]


@pytest.fixture(params=["valkey", "kafka"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    """Return a company whose log is an embedded Valkey or a topic of its own of the broker."""
    if request.param == "valkey":
        return company(tmp_path)
    broker: Broker = request.getfixturevalue("broker")
    return company(tmp_path, name=f"c{os.urandom(6).hex()}", log_url=broker.url)


def later(ws: Workspace, seconds: float) -> None:
    """Move the clock of a company."""
    assert isinstance(ws.clock, HandClock)
    ws.clock.at += timedelta(seconds=seconds)


def everything(log: EventLog, after: int = 0, page: int = 1000) -> list[Entry]:
    """Return all entries behind a position, read in pages."""
    found: list[Entry] = []
    while entries := log.read(found[-1].position if found else after, page):
        found += entries
    return found


@pytest.mark.row("R59")
def test_entries_come_back_in_order_with_their_moments(ws: Workspace) -> None:
    """Positions and moments rise, also when the clock falls, and the bytes are those that came."""
    payloads = [b'{"a": 1.50}', b"", b"\x00\xff", "ü".encode() * 1000]
    with event_log(ws) as log:
        assert (log.end(), log.length(), log.read(0)) == (None, 0, [])
        first = log.append("shop", payloads)
        later(ws, -3600)
        second = log.append("web", [b"later, by an earlier clock"])
        later(ws, 3660)
        third = log.append("shop", [b"a minute on"])
        entries = everything(log)
        assert [entry.position for entry in entries] == first + second + third == sorted({*first, *second, *third})
        assert [entry.payload for entry in entries] == [*payloads, b"later, by an earlier clock", b"a minute on"]
        assert [entry.source for entry in entries] == ["shop"] * 4 + ["web", "shop"]
        moments = [entry.accepted_us for entry in entries]
        assert moments == sorted(set(moments))
        assert (moments[0], moments[-1]) == (US, US + 60_000_000)
        assert moments[4] - US < 1_000
        assert log.end() == (third[0], moments[-1])
    with event_log(ws) as again:
        assert everything(again, page=2) == entries
        assert everything(again, entries[3].position) == entries[4:]


def test_since_parts_the_entries_by_their_moment(ws: Workspace) -> None:
    """What was accepted later than a moment, and nothing else, stands behind it."""
    with event_log(ws) as log:
        for number in range(20):
            log.append("shop", [str(number).encode()] * 3)
            later(ws, [0.0000004, 0.000001, 0.0007, -2.0, 5.0][number % 5])
        entries = everything(log)
        for moment in {US - 1, *(entry.accepted_us + step for entry in entries for step in (-1, 0, 1))}:
            assert everything(log, log.since(moment)) == [one for one in entries if one.accepted_us > moment]


def test_a_sealed_moment_is_over(ws: Workspace) -> None:
    """Whatever clock an appender has; and a seal is no entry."""
    with event_log(ws) as log:
        log.seal(US + 5_000_000)
        assert (log.end(), log.read(0)) == (None, [])
        log.append("shop", [b"late"])
        log.seal(US - 1)
        log.append("shop", [b"later"])
        log.seal(US + 9_000_000)
        entries = everything(log)
        assert [entry.accepted_us >= US + 5_000_001 for entry in entries] == [True, True]
        assert entries[-1].accepted_us <= US + 9_000_000
        assert log.end() == (entries[-1].position, entries[-1].accepted_us)
        log.commit("runner", entries[-1].position)
        assert log.lag("runner") == 0
        assert log.read(entries[-1].position, wait_seconds=0.2) == []


def test_a_trim_drops_what_all_groups_have_and_moments_stay(ws: Workspace) -> None:
    """No group's entries go before it has committed them; what is left says what it said before."""
    with event_log(ws) as log:
        for number in range(6):
            log.append("shop", [str(number).encode()])
            later(ws, -1 if number == 2 else 1)
        entries = everything(log)
        log.commit("slow", entries[2].position)
        log.commit("fast", entries[5].position)
        log.commit("fast", entries[0].position)
        assert (log.committed("slow"), log.committed("fast")) == (entries[2].position, entries[5].position)
        assert (log.lag("slow"), log.lag("fast"), log.lag("nobody")) == (3, 0, 6)
        assert log.trim(US + 60_000_000) == 3
        assert everything(log) == entries[3:]  # the moment of the first is that of one which is gone
        log.forget("slow")
        log.forget("nobody")
    with event_log(ws) as log:
        assert everything(log) == entries[3:]
        assert log.trim(entries[5].accepted_us) == 2
        assert log.trim(entries[5].accepted_us) == 0
        assert everything(log) == entries[5:]
        log.trim(US + 60_000_000)
        assert (log.end(), log.length(), everything(log)) == (None, 0, [])
        later(ws, -3600)
        log.append("shop", [b"by an earlier clock"])
        (entry,) = everything(log)
        assert (entry.position > entries[5].position, entry.accepted_us >= entries[5].accepted_us) == (True, True)


def test_who_waits_is_woken(ws: Workspace) -> None:
    """A read returns when the first entry comes, long before its time is over."""
    with event_log(ws) as log, event_log(ws) as other:
        log.read(0, wait_seconds=0.2)
        timer = threading.Timer(0.5, lambda: other.append("shop", [b"x"]))
        timer.start()
        began = time.monotonic()
        assert [entry.payload for entry in log.read(0, wait_seconds=20)] == [b"x"]
        assert time.monotonic() - began < 5
        timer.join()


def test_appenders_at_once_share_one_order(ws: Workspace) -> None:
    """Every entry once, each appender's in its order, at the position that it was told."""
    told: dict[str, list[int]] = {}

    def append(name: str) -> None:
        with event_log(ws) as own:
            told[name] = [place for i in range(25) for place in own.append(name, [b"%d" % i, b"%d'" % i])]

    with event_log(ws) as log:
        threads = [threading.Thread(target=append, args=(f"s{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        entries = everything(log)
    assert len(entries) == 200
    for name in told:
        own = [entry for entry in entries if entry.source == name]
        assert [entry.position for entry in own] == told[name]
        assert [entry.payload for entry in own] == [text for i in range(25) for text in (b"%d" % i, b"%d'" % i)]


def test_bounds(ws: Workspace) -> None:
    """A log that nobody drains takes no more, and none takes an event of any size."""
    with event_log(ws, max_entries=10) as log:
        with pytest.raises(Rejected, match="at most 16,000,000 bytes"):
            log.append("shop", [b"x" * (MAX_PAYLOAD_BYTES + 1)])
        log.append("shop", [b"x"] * 8)
        with pytest.raises(Transient, match="takes no more until a night is published"):
            log.append("shop", [b"x"] * 3)
        assert log.length() == 8
        log.append("shop", [b"x"] * 2)
    with event_log(ws) as log:
        (place,) = log.append("shop", [b"y" * 10_000_000])
        assert [len(entry.payload) for entry in everything(log)[-1:]] == [10_000_000]
        assert log.read(place - 1)[-1].position == place


def test_ten_thousand_entries(ws: Workspace) -> None:
    """In batches of 500, written and read in seconds on a busy machine."""
    with event_log(ws) as log:
        began = time.monotonic()
        for _ in range(20):
            log.append("shop", [b"x" * 200] * 500)
        written = time.monotonic() - began
        began = time.monotonic()
        assert len(everything(log)) == 10_000
        read = time.monotonic() - began
    print(f"10,000 entries of 200 bytes: {written:.2f} s to append, {read:.2f} s to read")
    assert max(written, read) < 10


@pytest.mark.row("F15")
def test_what_was_acknowledged_survives_the_servers_death(ws: Workspace, request: pytest.FixtureRequest) -> None:
    """The server is killed (SIGKILL) while it is written to: whoever appends is told, and nothing is lost."""
    told: list[int] = []
    faults: list[Transient] = []
    with event_log(ws) as log:
        told += log.append("shop", [b"1"])
        killing = threading.Timer(0.5, lambda: kill(ws, request))
        killing.start()
        deadline = time.monotonic() + 30
        while not faults and time.monotonic() < deadline:
            try:
                told += log.append("shop", [b"%d" % (len(told) + 1)])
            except Transient as fault:
                faults.append(fault)
        killing.join()
    assert faults
    revive(ws, request)
    with event_log(ws) as log:
        entries = everything(log)
        assert [entry.position for entry in entries][: len(told)] == told
        assert [int(entry.payload) for entry in entries][: len(told)] == list(range(1, len(told) + 1))
        assert len(entries) - len(told) in (0, 1)
        (after,) = log.append("shop", [b"after"])
        assert after > entries[-1].position


def kill(ws: Workspace, request: pytest.FixtureRequest) -> None:
    """Kill the server of a log."""
    if ws.settings.log_url:
        request.getfixturevalue("broker").kill()
    else:
        os.kill(valkey_pid(ws), signal.SIGKILL)


def revive(ws: Workspace, request: pytest.FixtureRequest) -> None:
    """Start the server of a log again; the embedded one is started by its next user."""
    if ws.settings.log_url:
        request.getfixturevalue("broker").start()


def valkey_pid(ws: Workspace) -> int:
    """Return the process of the embedded server."""
    from infra.redis.embedded import embedded_server

    with embedded_server(ws.folder("log")) as address, address.client() as client:
        return int(client.info("server")["process_id"])


@contextmanager
def server(folder: Path, *options: str) -> Iterator[str]:
    """Run the machine's own Redis, or Valkey where there is none, with some options; yields its URL."""
    import shutil
    import subprocess

    from infra.redis.address import free_port
    from infra.redis.embedded import server_binary

    port = free_port()
    binary = shutil.which("redis-server") or str(server_binary())
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port) as client:
            deadline = time.monotonic() + 10
            while True:
                try:
                    client.ping()
                    break
                except redis.RedisError:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


def test_a_server_that_keeps_nothing_is_refused(tmp_path: Path) -> None:
    """By URL a Redis has to keep what it accepts; with ``appendfsync always`` its answer says that it did."""
    with server(tmp_path) as url, pytest.raises(Rejected, match="appendonly no"):
        event_log(company(tmp_path, log_url=url)).__enter__()
    with (
        server(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as url,
        event_log(company(tmp_path, log_url=url)) as log,
    ):
        log.append("shop", [b"x"])
        assert [entry.payload for entry in everything(log)] == [b"x"]
    with pytest.raises(Transient, match="does not answer"):
        event_log(company(tmp_path, log_url=url)).__enter__()


def test_a_server_that_is_not_always_on_disk_is_waited_for(tmp_path: Path) -> None:
    """Valkey can be asked when an append is on disk; an older Redis cannot and is refused."""
    from infra.redis.embedded import embedded_server

    (tmp_path / "elsewhere").mkdir()
    with embedded_server(tmp_path / "elsewhere") as address:
        url = f"redis://:{address.password}@127.0.0.1:{address.port}/0"
        with event_log(company(tmp_path, log_url=url)) as log:
            assert len(log.append("shop", [b"x"])) == 1
            with address.client() as client:
                assert client.info("commandstats")["cmdstat_waitaof"]["calls"] == 1
        with pytest.raises(Rejected, match="an address that lets us in"):
            event_log(company(tmp_path, log_url=f"redis://:wrong@127.0.0.1:{address.port}/0")).__enter__()


@pytest.mark.parametrize("url", ["redis://", "kafka://", "http://x", "kafka://127.0.0.1:1?nonsense=1"])
def test_an_address_that_is_none_is_refused(url: str, tmp_path: Path) -> None:
    """With a sentence that names the setting."""
    with pytest.raises(Rejected, match="RAPPORT_LOG_URL"):
        event_log(company(tmp_path, log_url=url)).__enter__()


def test_a_topic_that_forgets_is_refused(broker: Broker, tmp_path: Path) -> None:
    """Only what a published night holds may go."""
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    admin = AdminClient({"bootstrap.servers": broker.url.removeprefix("kafka://")})
    made = admin.create_topics([NewTopic("rapport.forgetful.events", 1, 1, config={"retention.ms": "1000"})])
    made["rapport.forgetful.events"].result(10)
    with pytest.raises(Rejected, match=r"retention\.ms: expected -1"):
        event_log(company(tmp_path, name="forgetful", log_url=broker.url)).__enter__()

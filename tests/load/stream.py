"""The stream runner under load: 500 events a second for five minutes, and a backlog of 100,000.

The runner is a process of its own beside the log and the online store; 4 % of the events are late by up to three days
and 2 % come twice. An event counts as visible when the heartbeat online says that its position is applied, which is
written behind the rows. There is no peer: the figures stand beside the limits that they have to keep.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from features.compute.build import build
from features.store.publish import publish
from features.stream.runner import Runner
from infra.clock import cutoff
from infra.log.event_log import EventLog
from infra.log.open import event_log
from infra.redis.online_store import online_store
from infra.settings import ROOT, Settings
from infra.workspace import Workspace, open_workspace
from rapport.world import ensure
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.keys import stream_key
from tests.conftest import small_workspace
from tests.load.bench import Entry
from validation.bronze.ingest import ingest
from validation.gate.run import gate
from validation.sources.coverage import last_night

CUSTOMERS, DAYS = 2000, 40
RATE, SECONDS, BACKLOG = 500, 300, 100_000
TICK = 0.02
LATE, TWICE, CHATS = 0.04, 0.02, 0.2
VISIBLE_SECONDS, CATCH_UP_RATE, GROWTH = 1.0, 5000, 1.25
PATIENCE = 300.0


@dataclass(frozen=True)
class Shifted:
    """The machine's clock, some time ago: the world ends on a night of its own."""

    behind: timedelta

    def now(self) -> datetime:
        """Return the moment, shifted."""
        return datetime.now(UTC) - self.behind


@dataclass
class Sender:
    """Makes events of the world's customers: clicks and turns of conversations."""

    ws: Workspace
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    made: int = 0
    last: list[tuple[str, bytes]] = field(default_factory=list)

    def some(self, number: int) -> dict[str, list[bytes]]:
        """Return source = events; some are late, some have come before."""
        found: dict[str, list[bytes]] = {"clicks": [], "messages": []}
        for _ in range(number):
            if self.last and self.chance.random() < TWICE:
                source, payload = self.chance.choice(self.last)
            else:
                source, payload = self._one()
                self.last = [*self.last[-200:], (source, payload)]
            found[source].append(payload)
        return found

    def _one(self) -> tuple[str, bytes]:
        chance, self.made = self.chance, self.made + 1
        late = timedelta(hours=chance.uniform(0.1, 72)) if chance.random() < LATE else timedelta(0)
        at = (self.ws.clock.now() - late - timedelta(seconds=chance.uniform(0, 2))).isoformat()
        customer = f"C{chance.randrange(1, CUSTOMERS + 1):06d}"
        if chance.random() < CHATS:
            said = chance.choice(["thanks, it works now", "still broken, I am waiting for hours", "where is my order"])
            turn = {"message_id": f"b{self.made}", "customer_no": customer, "sent_at": at, "channel": "chat",
                   "conversation": f"t{chance.randrange(4000)}", "role": chance.choice(["customer", "agent"]),
                   "visibility": "private", "body": said}  # fmt: skip
            return "messages", json.dumps(turn).encode()
        click = {"click_id": f"b{self.made}", "customer_no": customer, "at": at, "action": "page_view",
               "session": f"s{chance.randrange(5000)}", "page": chance.choice(["home", "help", "pricing"]),
               "duration_ms": chance.randrange(60_000)}  # fmt: skip
        return "clicks", json.dumps(click).encode()


@dataclass
class Watcher:
    """Notes when which position became visible online."""

    online: OnlineStore
    seen: list[tuple[int, float]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Look every few milliseconds until told to stop."""
        with self.online.client() as client:
            while not self.stopping.wait(0.005):
                position = int(client.hget(stream_key(self.online.project), "position") or 0)
                if not self.seen or position > self.seen[-1][0]:
                    self.seen.append((position, time.monotonic()))

    def visible(self, position: int) -> float:
        """Return when a position had become visible."""
        return self.seen[bisect_left(self.seen, (position, 0.0))][1]

    def until(self, position: int) -> float:
        """Wait until a position is visible; return when that was."""
        deadline = time.monotonic() + PATIENCE
        while not self.seen or self.seen[-1][0] < position:
            if time.monotonic() > deadline:
                raise SystemExit("stream: the runner does not come on")
            time.sleep(0.005)
        return self.visible(position)


def run(folder: Path) -> list[Entry]:
    """Return the figures."""
    ws = prepared(folder / "stream")
    with event_log(ws) as log, online_store(ws) as online, following(ws) as runner, watching(online) as watcher:
        sender = Sender(ws)
        watcher.until(append(log, sender, 100)[-1])
        print(f"{RATE} events a second for {SECONDS} s", file=sys.stderr)
        waits, early, late = steady(log, sender, watcher, runner)
        print(f"{BACKLOG:,} events at once", file=sys.stderr)
        runner.suspend()
        last = 0
        for _ in range(BACKLOG // 1000):
            last = append(log, sender, 1000)[-1]
        begun = time.monotonic()
        runner.resume()
        caught_up = watcher.until(last) - begun
    waits.sort()
    p99 = waits[int(len(waits) * 0.99)]
    print(f"p50 {waits[len(waits) // 2]:.3f} s, p99 {p99:.3f} s, most {waits[-1]:.3f} s", file=sys.stderr)
    return [
        Entry.of("stream: accepted to visible online, p99", p99, VISIBLE_SECONDS, "s", 1.0),
        Entry.of("stream: 100,000 queued events, at 5,000 a second", caught_up, BACKLOG / CATCH_UP_RATE, "s", 1.0),
        Entry.of("stream: memory after five minutes beside one", late, early, "MB", GROWTH),
    ]


def prepared(folder: Path) -> Workspace:
    """Return a company whose history is published up to its last night, an hour after that night."""
    folder.mkdir(parents=True, exist_ok=True)
    ws = small_workspace(folder, customers=CUSTOMERS, days=DAYS)
    ensure(ws)
    night = last_night(ws)
    for step in (ingest, gate, build, publish):
        print(f"{step.__name__} of {night}", file=sys.stderr)
        step(ws, night)
    return open_workspace(ws.settings, Shifted(datetime.now(UTC) - cutoff(night) - timedelta(hours=1)))


def append(log: EventLog, sender: Sender, number: int) -> list[int]:
    """Append some events; return their positions."""
    return [at for source, payloads in sender.some(number).items() for at in log.append(source, payloads)]


def steady(log: EventLog, sender: Sender, watcher: Watcher, runner: psutil.Process) -> tuple[list[float], float, float]:
    """Send at an even pace; return how long each event took to become visible, and the runner's memory."""
    accepted: list[tuple[int, float]] = []
    begun, early = time.monotonic(), 0.0
    for tick in range(int(SECONDS / TICK)):
        pause = begun + tick * TICK - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        positions = append(log, sender, int(RATE * TICK))
        now = time.monotonic()
        accepted += [(position, now) for position in positions]
        if not early and now - begun > min(60, SECONDS / 5):
            early = runner.memory_info().rss / 2**20
    watcher.until(accepted[-1][0])
    late = runner.memory_info().rss / 2**20
    return [watcher.visible(position) - moment for position, moment in accepted], early, late


@contextmanager
def watching(online: OnlineStore) -> Iterator[Watcher]:
    """Watch the heartbeat in a thread."""
    watcher = Watcher(online)
    thread = threading.Thread(target=watcher.watch, daemon=True)
    thread.start()
    try:
        yield watcher
    finally:
        watcher.stopping.set()
        thread.join()


@contextmanager
def following(ws: Workspace) -> Iterator[psutil.Process]:
    """Run the stream of a company as a process of its own."""
    behind = str((datetime.now(UTC) - ws.clock.now()).total_seconds())
    environment = os.environ | ws.environment()
    with subprocess.Popen([sys.executable, "-m", "tests.load.stream", behind], cwd=ROOT, env=environment) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()


def main(behind: str) -> None:
    """Follow the log until SIGTERM."""
    ws = open_workspace(Settings(), Shifted(timedelta(seconds=float(behind))))
    with event_log(ws) as log, online_store(ws) as online:
        runner = Runner(ws, log, online)
        signal.signal(signal.SIGTERM, lambda *_: runner.stopping.set())
        runner.run()


if __name__ == "__main__":
    main(*sys.argv[1:])

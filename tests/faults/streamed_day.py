"""A simulated day of a small company whose events stream in: what is told of it, and who follows the log.

``python -m tests.faults.streamed_day CLOCK`` is ``rapport stream`` by a clock that stands in a file.
"""

import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from features.catalogue import groups_of
from features.declare.group import Group
from infra.clock import start_of
from infra.log.event_log import EventLog
from infra.settings import ROOT, Settings
from infra.workspace import Workspace, open_workspace
from rapport.stack.stream import run
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.keys import row_field, stream_key
from tests.streamed_companies import company, event, streamed

NIGHT, TODAY = date(2026, 5, 25), date(2026, 5, 26)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
STEP = 30 * MINUTE
WITHIN = 120.0
SOURCES = (
    streamed("behaviours"),
    streamed("behaviours", "web", id_space="web"),
    streamed("interactions"),
    streamed("identity_links", "logins", id_space="web"),
    streamed("identity_links", "merges"),
)
Rows = dict[tuple[bytes, str], bytes]
"""Packed rows by key and view."""
CUSTOMERS = [f"C{number:02}" for number in range(30)]
VISITORS = [f"v{number}" for number in range(7)]
TICKETS = [f"t{number:02}" for number in range(15)]
STRANGER, QUIET = "v7", "C99"
"""A visitor who comes and is known while nobody follows; a customer of whom only the scene of five minutes tells."""
KINDS = ("page_view", "page_view", "page_view", "login", "product_use", "search")
PAGES = ("home", "help", "shop", "pricing", "status", "offers", "contact")
TEXTS = (
    "thank you, that is perfect",
    "this is wrong again!",
    "still not solved, I am waiting for a manager",
    "write to me at ann@example.com or call +49 30 1234567",
    "I want my money back, cancel it",
    "ok",
    "",
    "it is broken " * 15,
)


class FileClock:
    """A clock that stands in a file, so that every process reads the same one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def now(self) -> datetime:
        """Return the moment that the file says."""
        return datetime.fromisoformat(self.path.read_text(encoding="ascii"))

    def set(self, moment: datetime) -> None:
        """Move the clock."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(moment.isoformat(), encoding="ascii")
        fresh.replace(self.path)


def at(hour: float, day: date = TODAY) -> datetime:
    """Return an hour of the day."""
    return start_of(day) + hour * HOUR


def make(home: Path, **settings: Any) -> Workspace:
    """Make the company; its clock stands in a file of its home."""
    ws = company(home, *SOURCES, threads=1, sample_rate=1.0, **settings)
    return replace(ws, clock=FileClock(home / "clock"))


def live_groups(ws: Workspace) -> list[Group]:
    """Return the company's live groups."""
    return [group for group in groups_of(ws.company) if group.served == "live"]


# What is told.


@dataclass(frozen=True)
class Delivery:
    """An event as it comes in, with the moment at which it does."""

    at: datetime
    source: str
    payload: bytes


@dataclass
class Story:
    """What comes in, and the events behind which a value may turn out to be another one later, by the reason.

    Attributes
    ----------
    poison
        How many of the deliveries the door has to refuse.
    """

    chance: random.Random
    told: list[Delivery] = field(default_factory=list)
    planted: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    poison: int = 0
    events: list[tuple[datetime, str, dict[str, Any]]] = field(default_factory=list)

    def tell(self, when: datetime, source: str, row: Mapping[str, Any]) -> None:
        """Deliver an event."""
        self.told.append(Delivery(when, source, event(row)))

    def plant(self, why: str, source: str, row: Mapping[str, Any]) -> None:
        """Note that an event may make values late."""
        self.planted[why].add(f"{source}:{row['event_id']}")

    def at(self, when: datetime) -> list[Delivery]:
        """Return what comes in at a moment, in its order."""
        return [one for one in self.told if one.at == when]


def ticks() -> list[datetime]:
    """Return the moments of the day at which events come in: every two hours, in the busy part every half."""
    hours = [1, 3, 5, 7, *(8 + half / 2 for half in range(22)), 20, 22]
    return [at(hour) for hour in hours] + [at(24) - 2 * MINUTE]


RUSH, OUTAGE, SCENE, MORNING = at(9) + STEP, at(13), at(15) + 5 * MINUTE, at(24.5)
"""When the runner is killed at work; when it is killed for an hour; the scene of five minutes; the day after."""
INSTANT = MINUTE / 6
"""How long after the rush the service is asked, while nobody follows."""


def story(seed: int, events: int = 1200, history: int = 400) -> Story:
    """Return a history of some weeks, accepted in one day, and a day of events that are disturbed in every way."""
    made = Story(random.Random(seed))
    for number in range(history):
        _historic(made, number)
    for number in range(events):
        _ordinary(made, number)
    _linked(made)
    _tomorrow(made)
    made.chance.shuffle(made.told)
    made.told.sort(key=lambda one: one.at)
    return made


def _historic(to: Story, number: int) -> None:
    accepted = to.chance.choice([at(hour, NIGHT) for hour in (6, 12, 18, 23.9)])
    age = to.chance.choice([DAY, 8 * DAY, 33 * DAY, 70 * DAY]) * to.chance.random()
    source, row = _event(to.chance, f"h{number}", accepted - age)
    to.tell(accepted, source, row)
    to.events.append((accepted, source, row))


def _ordinary(to: Story, number: int) -> None:
    chance, moments = to.chance, ticks()
    weights = [6 if tick == RUSH else 1 for tick in moments]
    (place,) = chance.choices(range(len(moments)), weights)
    tick = moments[place]
    happened = tick - chance.random() * (tick - moments[place - 1] if place else STEP)
    source, row = _event(chance, f"d{number}", happened)
    later = moments[place:]
    (fate,) = chance.choices([*FATES, _as_it_is], [*(weight for _, weight in FATES.items()), 80])
    fate(to, source, row, later)
    to.events.append((tick, source, row))
    if chance.random() < 0.06:
        again = [one for one in to.told[-3:] if one.payload == event(row)]
        for one in again[:1]:
            to.told += [
                replace(one, at=chance.choice(later)) for _ in range(chance.randint(1, 4)) if one.at <= later[0]
            ]


def _as_it_is(to: Story, source: str, row: dict[str, Any], later: Sequence[datetime]) -> None:
    to.tell(later[0], source, row)


def _late(to: Story, source: str, row: dict[str, Any], later: Sequence[datetime]) -> None:
    """Hours late, or days."""
    if to.chance.random() < 0.3:
        row["event_time"] = _text(later[0] - 30 * DAY * to.chance.random())
    to.tell(to.chance.choice(later[1:] or later), source, row)
    to.plant("late", source, row)


def _revised(to: Story, source: str, row: dict[str, Any], later: Sequence[datetime]) -> None:
    """By its number or by the order in which it came; sometimes the revision comes first, or of something old."""
    numbered = to.chance.random() < 0.6
    old = to.chance.random() < 0.3
    if old:
        _, source, row_before = to.chance.choice([one for one in to.events if one[0] < at(0)])
        row.clear()
        row.update(row_before)
    first = row | ({"revision": 1} if numbered and not old else {})
    second = row | _changed(to.chance, source, row) | ({"revision": 2} if numbered else {})
    moments = sorted(to.chance.choices(later, k=2))
    if numbered and to.chance.random() < 0.4:
        moments.reverse()
    if not old:
        to.tell(moments[0], source, first)
    to.tell(moments[1], source, second)
    to.plant("revised", source, row)


def _retracted(to: Story, source: str, row: dict[str, Any], later: Sequence[datetime]) -> None:
    moments = sorted(to.chance.choices(later, k=2))
    if to.chance.random() < 0.3:
        moments.reverse()
    to.tell(moments[0], source, row | {"revision": 1})
    to.tell(moments[1], source, row | {"revision": 2, "retracted": "true"})
    to.plant("retracted", source, row)


def _held(to: Story, source: str, row: dict[str, Any], later: Sequence[datetime]) -> None:
    """Dated a little ahead: it counts from its own moment on."""
    row["event_time"] = _text(min(later[0] + 9 * MINUTE * to.chance.random(), at(24) - MINUTE / 60))
    to.tell(later[0], source, row)


def _poison(to: Story, source: str, row: dict[str, Any], later: Sequence[datetime]) -> None:
    bad = to.chance.choice(
        [
            b"{",
            b"\xff\xfe",
            b"[1]",
            event(row, source_id=None),
            event(row, event_time="yesterday"),
            event(row, event_time=_text(later[0] + HOUR)),
            event(row, **({"duration_ms": -1} if "duration_ms" in row else {"channel": "pigeon"})),
        ]
    )
    to.told.append(Delivery(later[0], to.chance.choice([source, source, source, "nobody"]), bad))
    to.poison += 1


FATES: Mapping[Callable[..., None], int] = {_late: 7, _revised: 6, _retracted: 3, _held: 2, _poison: 3}


def _changed(chance: random.Random, source: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a change of an event: of a value, of whom it is about, or of its time."""
    what = chance.randrange(3)
    if what == 0:
        moved = datetime.fromisoformat(row["event_time"]) - 2 * DAY * chance.random()
        return {"event_time": _text(moved)}
    if what == 1:
        return {"source_id": chance.choice(VISITORS if source == "web" else CUSTOMERS)}
    if source == "interactions":
        return {"text": chance.choice(TEXTS) + " again", "thread_id": chance.choice(TICKETS)}
    return {"duration_ms": chance.randrange(60_000), "page": "help"}


def _event(chance: random.Random, event_id: str, happened: datetime) -> tuple[str, dict[str, Any]]:
    source = chance.choices(["behaviours", "web", "interactions"], [5, 2, 3])[0]
    row = {
        "event_id": event_id,
        "source_id": chance.choice(VISITORS if source == "web" else CUSTOMERS),
        "event_time": _text(happened),
    }
    if source != "interactions":
        return source, row | {
            "kind": chance.choice(KINDS),
            "session_id": f"s{chance.randrange(6)}",
            "page": chance.choice(PAGES),
            "duration_ms": chance.randrange(60_000),
        }
    role = chance.choice(["customer", "customer", "agent", "bot"])
    return source, row | {
        "channel": "chat",
        "thread_id": chance.choice([*TICKETS, *TICKETS, "x1"]),
        "author_role": role,
        "visibility": "public",
        "text": chance.choice(TEXTS),
        "action": None if role == "customer" else chance.choice(["greet", "refund", "escalate"]),
    }


def _linked(to: Story) -> None:
    """Tell in the course of the day who the visitors are, take some of it back, and merge two customers."""
    said: list[tuple[str, datetime, str, str | None, dict[str, Any]]] = [
        ("logins", at(8), "v0", "C00", {}),
        ("logins", at(11), "v1", "C01", {}),
        ("logins", at(11) + 2 * STEP, "v2", "C02", {"backwards": None}),
        ("logins", at(12), "v4", "C20", {}),
        ("logins", OUTAGE + STEP, "v3", "C03", {}),
        ("logins", OUTAGE + 2 * STEP, STRANGER, "C04", {}),
        ("logins", at(15) + 2 * STEP, "v0", None, {"event_id": "gone", "kind": "unlinked", "backwards": None}),
        ("logins", at(16) + STEP, "v1", "C01", {"retracted": "true"}),
        ("logins", at(17), "v2", "C05", {"backwards": None, "event_time": _text(at(11) + 2 * STEP - 61 * MINUTE)}),
        ("merges", at(18), "C20", "C21", {}),
    ]
    for source, when, who, customer, other in said:
        row = {
            "event_id": f"link-{who}",
            "source_id": who,
            "event_time": _text((at(11) if who == "v1" else when) - 61 * MINUTE),
            "kind": "linked",
            "customer": customer,
            "backwards": "true",
        }
        to.tell(when, source, row | other)
        to.tell(when + STEP, source, row | other)
    for number in range(3):
        click = {"kind": "page_view", "session_id": "s9", "page": "help", "duration_ms": 1000 * number}
        row = {"event_id": f"stranger{number}", "source_id": STRANGER, "event_time": _text(OUTAGE + 10 * MINUTE)}
        to.tell(OUTAGE + STEP, "web", row | click)
        to.events.append((OUTAGE + STEP, "web", row))
    for one in to.told:
        if one.source in ("web", "behaviours"):
            row = _row(one)
            linked = {"v0", "v1", "v2", "v3", "v4", STRANGER} if one.source == "web" else {"C20"}
            if row.get("source_id") in linked:
                to.plant("linked", one.source, row)
        row = _row(one)
        if "event_id" in row and (one.at == RUSH or RUSH <= _happened(row) <= RUSH + INSTANT):
            to.plant("not yet applied", one.source, row)


def _happened(row: Mapping[str, Any]) -> datetime:
    """Return when an event happened; poison has no such time."""
    try:
        return datetime.fromisoformat(row["event_time"])
    except ValueError:
        return at(0)


def _tomorrow(to: Story) -> None:
    """Hold an event over midnight, and tell in the morning what changes what the night holds, in tiles and beside them.

    Of the visitors one is known, and of one it is told that he is not who he was.
    """
    held = {"event_id": "over midnight", "source_id": "C00", "event_time": _text(at(24) + 5 * MINUTE), "kind": "login"}
    to.tell(ticks()[-1], "behaviours", held | {"session_id": "s1", "page": "shop", "duration_ms": 7})
    for _accepted, source, row in to.chance.sample([one for one in to.events if len(one[2]) > 3], 60):
        again = row | to.chance.choice([_changed(to.chance, source, row), {"retracted": "true"}, {}])
        to.tell(MORNING, source, again | {"revision": 9})
    for who, customer in (("v5", "C06"), ("v3", "C07")):
        link = {"event_id": f"link-{who}", "source_id": who, "kind": "linked", "customer": customer}
        to.tell(MORNING, "logins", link | {"event_time": _text(OUTAGE + STEP - 61 * MINUTE), "backwards": "true"})


def _row(one: Delivery) -> dict[str, Any]:
    try:
        row = json.loads(one.payload)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


# Who follows.


class Follower:
    """A stream runner in a process of its own, and the store that it fills."""

    def __init__(self, ws: Workspace, store: OnlineStore) -> None:
        self.ws, self.store = ws, store
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the runner."""
        assert isinstance(self.ws.clock, FileClock)
        environment = {**os.environ, **self.ws.environment(), "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.faults.streamed_day", str(self.ws.clock.path)]
        with (self.ws.folder("reports") / f"stream-{self.ws.settings.stream_port}.log").open("ab") as out:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def told(self) -> tuple[int, int]:
        """Return the log time and the position that it last said to have applied."""
        with self.store.client() as client:
            found = client.hmget(stream_key(self.store.project), ["applied", "position"])
        return int(found[0] or 0), int(found[1] or 0)

    def wait(self, log_us: int, position: int) -> None:
        """Wait until it has applied the log up to a moment and a position."""

        def there() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, "the runner ended by itself, see its log"
            applied, reached = self.told()
            return applied >= log_us and reached >= position

        until(there)

    def meter(self, name: str) -> float:
        """Return the sum of a counter over its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ws.settings.stream_port}/metrics") as answer:
            text = answer.read().decode()
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return sum(sample.value for sample in samples if sample.name == f"rapport_stream_{name}_total")


@contextmanager
def following(ws: Workspace, store: OnlineStore) -> Iterator[Follower]:
    """Start a runner and kill it in the end."""
    one = Follower(ws, store)
    one.start()
    try:
        yield one
    finally:
        one.kill()


def append(log: EventLog, told: Sequence[Delivery]) -> int:
    """Append events in their order, source by source in two halves; return the last position."""
    position = 0
    half = (len(told) + 1) // 2
    for part in (told[:half], told[half:]):
        for source in dict.fromkeys(one.source for one in part):
            position = log.append(source, [one.payload for one in part if one.source == source])[-1]
    return position


def rows(store: OnlineStore, groups: Sequence[Group]) -> Rows:
    """Return every packed live row, as it stands."""
    found: Rows = {}
    keys = store.keys()
    with store.client() as client, client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hmget(key, [row_field(group.live_view) for group in groups])
        for key, values in zip(keys, pipe.execute(), strict=True):
            for group, raw in zip(groups, values, strict=True):
                if raw is not None:
                    found[key, group.live_view] = raw
    return found


def until(done: Callable[[], bool], seconds: float = WITHIN, every: float = 0.01) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(every)


if __name__ == "__main__":
    run(open_workspace(Settings(), FileClock(Path(sys.argv[1]))), Console(width=200))

"""A day by log time, with events that are late, repeated, revised, retracted and out of order, and two kill -9.

One runner is killed twice, once for an hour; it fills the store that the service reads. Another one is never killed,
and a third begins at midnight; each fills a store of its own.
"""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Counter
from rich.console import Console
from starlette.testclient import TestClient

from features.compute.build import build
from features.declare.group import Group
from features.parity.compare import compare
from features.parity.report import measure, report
from features.parity.result import LATE
from features.parity.samples import file_of
from features.store.publish import publish
from features.stream.runner import Runner
from infra.log.event_log import EventLog
from infra.log.open import event_log
from infra.redis.embedded import embedded_server
from infra.redis.online_store import online_store
from infra.workspace import Workspace
from rapport.cli.parity import print_report
from rapport_feast.row.address import OnlineStore
from rapport_feast.times import micros
from serving.http.app import create_app
from tests.contract.serving_setup import free_port, wait_until_ready
from tests.faults.streamed_day import (
    CUSTOMERS,
    HOUR,
    INSTANT,
    MINUTE,
    MORNING,
    NIGHT,
    OUTAGE,
    QUIET,
    RUSH,
    SCENE,
    STRANGER,
    TICKETS,
    TODAY,
    VISITORS,
    Delivery,
    FileClock,
    Follower,
    Rows,
    Story,
    append,
    at,
    following,
    live_groups,
    make,
    rows,
    story,
    ticks,
    until,
)
from tests.streamed_companies import event
from validation.bronze.dead_letters import DEAD_LETTERS
from validation.bronze.event_log import release
from validation.bronze.ingest import ingest
from validation.gate.run import gate

pytestmark = pytest.mark.assure
SEED = int(os.environ.get("DAY_SEED", "20260526"))
# Whom the service is asked about whenever events came in: those whom links name, and some others in turn.
NAMED = ["C00", "C01", "C20", "C21", "web:v2", "web:v3"]
TURN = [*CUSTOMERS, *(f"web:{who}" for who in (*VISITORS, STRANGER))]
VIEWS = "customer__views__5m"
FACTS = ("behaviours", "interactions", "identity_links")


@dataclass(frozen=True)
class Answer:
    """What the service said of one entity: feature = value, status, and rung and reason where it fell."""

    values: dict[str, Any]
    statuses: dict[str, str]
    fallen: dict[str, tuple[str, str]]


@dataclass
class Day:
    """The company in the course of its day, and what was seen of it.

    Attributes
    ----------
    main, calm
        The runner that is killed, and the one that never is.
    torn
        Position up to which the runner had said to be when it was killed, and the end of the log.
    outage, healed
        What the service said while nobody followed, and when the runner was back.
    scene
        What it said so many minutes after the last event of a customer.
    stores, counted
        The live rows at midnight, by the runner that wrote them; what the calm one had counted by then.
    handed, morning
        Those of the first runner after the night, and those of both when some more had come.
    """

    ws: Workspace
    log: EventLog
    told: Story
    groups: list[Group]
    client: TestClient
    main: Follower
    calm: Runner
    torn: tuple[int, int] = (0, 0)
    outage: list[Answer] = field(default_factory=list)
    healed: dict[str, Answer] = field(default_factory=dict)
    scene: dict[int, Answer] = field(default_factory=dict)
    stores: dict[str, Rows] = field(default_factory=dict)
    counted: dict[str, float] = field(default_factory=dict)
    handed: Rows = field(default_factory=dict)
    morning: tuple[Rows, Rows] = ({}, {})
    position: int = 0

    def set(self, moment: datetime) -> None:
        """Move the clock."""
        assert isinstance(self.ws.clock, FileClock)
        self.ws.clock.set(moment)

    def come(self, told: list[Delivery]) -> None:
        """Let events come in at the moment of the clock."""
        self.position = append(self.log, told) or self.position

    def wait(self) -> None:
        """Wait until the runner has applied everything, and the service knows how far it is."""
        self.main.wait(micros(self.ws.clock.now()), self.position)
        applied, pulse = self.main.told()[0], self.client.app.features.state.writers  # type: ignore[attr-defined]
        until(lambda: (pulse.applied_us or 0) >= applied)

    def ask(self, *asked: list[str]) -> dict[str, Answer]:
        """Ask the service for every live feature of some customers, and of some tickets."""
        return {
            one: answer for group, ids in zip(self.groups, asked, strict=False) for one, answer in self._ask(group, ids)
        }

    def look(self, number: int) -> dict[str, Answer]:
        """Ask about those who are named, and a few others in turn."""
        others = [TURN[(3 * number + each) % len(TURN)] for each in range(3)]
        return self.ask([*NAMED, *others], [TICKETS[(2 * number + each) % len(TICKETS)] for each in range(3)])

    def _ask(self, group: Group, ids: list[str]) -> Iterator[tuple[str, Answer]]:
        names = [feature.name for feature in group.outputs]
        body = {"features": [f"{group.name}:{name}" for name in names], "entities": {group.entity.key: ids}}
        answer = self.client.post("/get-online-features", json=body)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        columns = dict(zip(names, told["results"][1:], strict=True))
        for place, one in enumerate(ids):
            fell = [fallen for fallen in told["rapport"]["fallbacks"] if fallen["row"] == place]
            yield (
                one,
                Answer(
                    {name: column["values"][place] for name, column in columns.items()},
                    {name: column["statuses"][place] for name, column in columns.items()},
                    {fallen["feature"]: (fallen["rung"], fallen["reason"]) for fallen in fell},
                ),
            )


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """Let a day pass, the night after it, and the beginning of the next."""
    print(f"DAY_SEED={SEED}")
    home, told = tmp_path_factory.mktemp("day"), story(SEED)
    ws = make(home, stream_port=free_port())
    with ExitStack() as held:
        held.enter_context(pytest.MonkeyPatch.context()).setattr("features.stream.runner.CHECK_SECONDS", float("inf"))
        log, store = held.enter_context(event_log(ws)), held.enter_context(online_store(ws))
        yesterday(ws, log, told)
        other = held.enter_context(beside(home / "other", ws.company.name))
        main = held.enter_context(following(ws, store))
        calm = Runner(ws, log, other)
        held.callback(calm.close)
        client = held.enter_context(TestClient(create_app(ws)))
        wait_until_ready(client)
        found = Day(ws, log, told, live_groups(ws), client, main, calm)
        calm.start()
        pass_by(found)
        midnight(found, replace(other, db=1))
        hand_over(found)
    return found


@contextmanager
def beside(folder: Path, project: str) -> Iterator[OnlineStore]:
    """Run a second online store."""
    folder.mkdir()
    with embedded_server(folder) as address:
        yield OnlineStore("127.0.0.1", address.port, project, password=address.password)


def night(ws: Workspace, of: date) -> None:
    """Run a night as the nightly DAG does."""
    for step in (ingest, gate, build, publish, release):
        step(ws, of)


def yesterday(ws: Workspace, log: EventLog, told: Story) -> None:
    """Let the history come in, and run its night."""
    assert isinstance(ws.clock, FileClock)
    for moment in sorted({one.at for one in told.told if one.at < at(0)}):
        ws.clock.set(moment)
        append(log, told.at(moment))
    ws.clock.set(at(0.5))
    night(ws, NIGHT)


def pass_by(day: Day) -> None:
    """Let the events of the day come in, and ask the service meanwhile."""
    for number, tick in enumerate(ticks()):
        day.set(tick)
        if tick == OUTAGE + HOUR:
            day.outage += day.look(number).values()
            day.main.start()
        if tick == RUSH:
            kill_at_work(day)
        else:
            day.come(day.told.at(tick))
        if number % 2:
            day.calm.drain()
        if OUTAGE <= tick < OUTAGE + HOUR:
            day.main.kill()
            day.outage += day.look(number).values() if tick > OUTAGE else ()
            continue
        day.wait()
        seen = day.look(number)
        if tick == OUTAGE + HOUR:
            day.healed = seen
        if tick == SCENE - 5 * MINUTE:
            five_minutes(day)


def kill_at_work(day: Day) -> None:
    """Kill the runner when a part of what came is online and the rest has just come; ask what is left; start it."""
    day.wait()
    before, came = rows(day.main.store, day.groups), day.told.at(RUSH)
    day.come(came[: len(came) // 2])
    until(lambda: rows(day.main.store, day.groups) != before, every=0)
    day.set(RUSH + INSTANT)
    day.come(came[len(came) // 2 :])
    day.main.kill()
    day.torn = (day.main.told()[1], day.position)
    day.ask(TURN, TICKETS)
    day.main.start()


def five_minutes(day: Day) -> None:
    """Let a customer do something, and then nobody anything."""
    day.set(SCENE)
    click = {
        "source_id": QUIET,
        "event_time": SCENE.isoformat(),
        "kind": "page_view",
        "session_id": "s",
        "page": "shop",
    }
    day.come([Delivery(SCENE, "behaviours", event(click, event_id=f"quiet{number}")) for number in range(2)])
    for minutes in (1, 4, 5, 6):
        day.set(SCENE + minutes * MINUTE)
        day.wait()
        day.scene[minutes] = day.ask([QUIET])[QUIET]
    end = day.log.end()
    assert end is not None
    assert end[0] == day.position, "something else came in"


def midnight(day: Day, third: OnlineStore) -> None:
    """Let all runners come to the same log time, one that only begins now among them."""
    day.set(at(24) + MINUTE)
    day.wait()
    day.calm.drain()
    late = Runner(day.ws, day.log, third)
    late.start()
    late.drain()
    assert day.main.told() == (day.calm.applied_us, day.position) == (late.applied_us, late.position)
    late.close()
    stores = {"killed": day.main.store, "never killed": day.calm.online, "begun at midnight": third}
    day.stores = {name: rows(store, day.groups) for name, store in stores.items()}
    day.counted = {"facts": total(day.calm.metrics.facts), "poison": total(day.calm.metrics.poison)}


def hand_over(day: Day) -> None:
    """Run the night, at the same log time, and let one runner take it over; then some more events come in."""
    night(day.ws, TODAY)
    until(lambda: day.main.meter("hand_overs") == 1)
    day.handed = rows(day.main.store, day.groups)
    day.set(MORNING)
    day.come(day.told.at(MORNING))
    day.wait()
    day.calm.drain()
    assert day.calm.store.night == NIGHT, "nobody is left to compare with"
    day.morning = (rows(day.main.store, day.groups), rows(day.calm.online, day.groups))


def total(counter: Counter) -> float:
    """Return the sum of a counter over its labels."""
    return sum(one.value for metric in counter.collect() for one in metric.samples if one.name.endswith("_total"))


def differing(one: Rows, other: Rows) -> list[tuple[bytes, str]]:
    """Return the rows that are not the same, byte by byte."""
    return [row for row in one.keys() | other.keys() if one.get(row) != other.get(row)]


@pytest.mark.row("T8")
def test_a_killed_runner_ends_with_the_rows_of_an_undisturbed_one(day: Day) -> None:
    """Byte by byte, times included; and of one that read the whole day at its end."""
    applied, end = day.torn
    assert 0 < applied < end, "it was not killed at work"
    killed = day.stores["killed"]
    assert len(killed) >= len(TURN) + len(TICKETS)
    assert {view for _, view in killed} == {group.live_view for group in day.groups}
    for name, held in day.stores.items():
        assert not differing(killed, held), name


def test_each_event_counts_once_and_each_poison_event_is_quarantined_once(day: Day) -> None:
    """What the stream took and refused in the day is what the night brings to silver and quarantine."""
    lake = day.ws.lake

    def of_today(table: str) -> int:
        return sum(known == TODAY for known in lake.read(table)["known_day"].to_pylist())

    over_midnight = 1
    assert day.counted["facts"] == sum(of_today(f"silver/{fact}") for fact in FACTS) + over_midnight > 1000
    poison = sum(of_today(f"quarantine/{fact}") for fact in FACTS) + of_today(DEAD_LETTERS)
    assert day.counted["poison"] == poison == day.told.poison > 0


@pytest.mark.row("R61")
def test_without_a_runner_no_stale_value_is_served_as_fresh(day: Day) -> None:
    """Every live value fell to last night's or below, and said why; when somebody followed again, none did."""
    assert len(day.outage) >= 20
    for answer in day.outage:
        assert answer.fallen.keys() == answer.values.keys()
        assert {rung for rung, _ in answer.fallen.values()} <= {"nightly", "prior"}
        assert {reason.partition(",")[0] for _, reason in answer.fallen.values()} <= {"stale", "not_found"}
        assert set(answer.statuses.values()) <= {"OUTSIDE_MAX_AGE", "NOT_FOUND"}
    assert not any(day.healed[one].fallen for one in NAMED)


@pytest.mark.row("V5")
def test_a_five_minute_count_falls_to_zero(day: Day) -> None:
    """To the minute, though nothing happened that could have touched it; a true value, no missing one."""
    assert {minutes: answer.values[VIEWS] for minutes, answer in day.scene.items()} == {1: 2, 4: 2, 5: 0, 6: 0}
    for minutes, answer in day.scene.items():
        assert not answer.fallen
        assert answer.statuses[VIEWS] == "PRESENT"
        assert answer.values["customer__views__1h"] == 2
        assert answer.values["customer__since_activity__30d"] == minutes * 60


@pytest.mark.row("V8")
def test_the_hand_over_of_a_night_changes_no_row(day: Day) -> None:
    """Neither then nor in the morning, when what the night holds is revised, withdrawn or somebody else's."""
    assert not differing(day.stores["killed"], day.handed)
    taken_over, not_taken_over = day.morning
    assert len(differing(day.handed, taken_over)) > 20
    assert not differing(taken_over, not_taken_over)


@pytest.mark.row("R78")
def test_served_values_equal_the_facts_as_known_then(day: Day) -> None:
    """No mismatch; what is late is explained by events that were late, revised, withdrawn or known by a link."""
    found = compare(day.ws, TODAY)
    told = report(found)
    printed = StringIO()
    assert print_report(told | {"plot": ""}, Console(file=printed, width=150)) == 0
    assert "mismatch rate 0.0000%" in printed.getvalue()
    assert told["verdict"] == "equal"
    assert told["rows"] == told["rows"] | {"judged": found.read, "pending": 0, "unreadable": 0, "overdue": 0}
    assert {view for view, _ in found.counts} == {view for one in day.groups for view in (one.view, one.live_view)}
    assert found.total.sampled > 5000
    assert {one.cause for one in found.differences} == {LATE}
    named = {event for one in found.differences for event in one.events}
    assert all(one.events for one in found.differences)
    assert named <= set().union(*day.told.planted.values())
    assert all(named & events for events in day.told.planted.values()), "a kind of them was never met"


def test_one_falsified_value_is_one_mismatch(day: Day) -> None:
    """So the meter can say other than that all is well."""
    file = file_of(day.ws, TODAY)
    whole = file.read_text()
    lines = [line for line in map(json.loads, whole.splitlines()) if line["view"] == day.groups[0].live_view][:40]
    lines[7]["values"]["customer__views__30d"] += 1000
    try:
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        told = measure(day.ws, TODAY)
    finally:
        file.write_text(whole)
    assert (told["verdict"], told["values"]["mismatches"]) == ("mismatch", {"transform": 1})
    (wrong,) = [one for one in told["examples"] if one["cause"] != LATE]
    assert (wrong["request"], wrong["feature"]) == (lines[7]["request"], "customer__views__30d")
    assert wrong["truth"] == wrong["served"] - 1000

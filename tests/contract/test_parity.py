"""The parity meter: an honest service has no mismatch, what is late is explained, each planted fault is named."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from features.parity.causes import CAUSES
from features.parity.compare import judge
from features.parity.report import measure
from features.parity.result import ParityResult
from features.parity.samples import file_of
from infra.clock import cutoff
from rapport.cli.parity import measure_parity, print_report
from rapport_feast.errors import Rejected
from rapport_feast.times import DAY
from tests.contract.parity_setup import (
    GROUP,
    HOUR,
    LAST,
    MINUTE,
    ORDERS,
    PEOPLE,
    SECOND,
    Row,
    Stage,
    at,
    make_stage,
    micros,
)
from tests.small_companies import NIGHT

BUSY = PEOPLE[6:]
MOMENTS = [at(hour) for hour in (11.37, 15.61, 20.12, 26.9, 33.33, 40.71)]
Tamper = Callable[[Stage, Row, datetime], Row]


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return make_stage(tmp_path_factory.mktemp("parity"))


@pytest.fixture
def stage(company: Stage) -> Iterator[Stage]:
    yield company
    company.serve([])


def causes(found: ParityResult) -> Counter[str]:
    """Return what was found beside equal values."""
    return Counter(one.cause for one in found.differences)


@pytest.mark.row("G4", "R78")
def test_an_honest_service_has_no_mismatch_and_what_is_late_is_explained(stage: Stage) -> None:
    """Honest is what the plain oracle says of the log at the applied time; a fault of the meter would show here too."""
    nightly = [stage.nightly(who, at(30.5), 0) for who in PEOPLE]
    stage.serve([stage.sample(who, moment) for who in PEOPLE for moment in [at(9.95), *MOMENTS]] + nightly)
    found = judge(stage.ws, LAST)
    assert found.verdict == "equal"
    assert (found.read, found.judged, found.pending, found.unreadable) == (96, 96, 0, 0)
    assert found.whole.sampled == 84 * len(GROUP.outputs) + 12 * len(ORDERS.outputs)
    assert {view for view, _ in found.tallies} == {GROUP.live_view, ORDERS.view}
    explained = {one.sample.id: set[str]() for one in found.differences}
    for one in found.differences:
        assert one.cause == "late"
        assert one.truth != one.sample.values[one.feature]
        explained[one.sample.id] |= set(one.events)
    assert explained == {
        "C00": {"behaviours:late"},
        "C01": {"behaviours:revised"},
        "C02": {"behaviours:gone"},
        "C03": {"behaviours:found"},
    }


@pytest.mark.row("G4")
def test_only_the_features_that_an_event_counts_in_name_it(stage: Stage) -> None:
    """A revised duration is late in what measures durations, and in nothing else."""
    stage.serve([stage.sample("C01", at(9.95))])
    late = {one.feature: one.events for one in judge(stage.ws, LAST).differences}
    assert set(late) == {"customer__time_spent__7d", "customer__time_spent__30d", "customer__linger__30d"}
    assert set(late.values()) == {("behaviours:revised",)}


def expired(stage: Stage, told: Row, served: datetime) -> Row:
    """Serve what was true an hour before, when the row was written: a five-minute count that nobody took back."""
    written = served - HOUR
    values = stage.oracle.live(told["id"], written, told_at(told["applied_us"]))
    fresh = {name: told["values"][name] for name in values if "since" in name}
    return told | {"event_us": micros(written), "known_us": micros(written), "values": values | fresh}


def in_another_zone(stage: Stage, told: Row, served: datetime) -> Row:
    return told | {"values": stage.oracle.live(told["id"], served - 2 * HOUR, told_at(told["applied_us"]))}


def in_another_type(_stage: Stage, told: Row, _served: datetime) -> Row:
    return told | {"values": told["values"] | {"customer__views__30d": float(told["values"]["customer__views__30d"])}}


def as_text(_stage: Stage, told: Row, _served: datetime) -> Row:
    return told | {"values": told["values"] | {"customer__views__30d": str(told["values"]["customer__views__30d"])}}


def transformed(_stage: Stage, told: Row, _served: datetime) -> Row:
    return told | {
        "values": told["values"] | {"customer__time_spent__30d": told["values"]["customer__time_spent__30d"] // 1000}
    }


def empty_as_zero(_stage: Stage, told: Row, _served: datetime) -> Row:
    return told | {"values": told["values"] | {"customer__linger__30d": None}}


def of_another_version(stage: Stage, told: Row, served: datetime) -> Row:
    return transformed(stage, told, served) | {"definition": "deadbeef"}


def without_links(stage: Stage, told: Row, served: datetime) -> Row:
    return told | {"values": stage.unlinked.live(told["id"], served, told_at(told["applied_us"]))}


def told_at(us: int) -> datetime:
    return at(0) + (us - micros(at(0))) * (SECOND / 1_000_000)


FAULTS: dict[str, tuple[str, Tamper]] = {
    "expired": ("expiry", expired),
    "zone": ("time zone", in_another_zone),
    "float": ("type", in_another_type),
    "text": ("type", as_text),
    "transform": ("transform", transformed),
    "empty": ("transform", empty_as_zero),
    "version": ("definition version", of_another_version),
    "links": ("identity", without_links),
}


@pytest.mark.row("G4")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_named_and_nothing_else_is(fault: str, stage: Stage) -> None:
    """Half of the rows are honest; of the others each value that differs is a mismatch with the one cause."""
    cause, tamper = FAULTS[fault]
    honest = [stage.sample(who, moment) for who in ("C04", "C05", *BUSY) for moment in MOMENTS]
    planted = [
        place for place, told in enumerate(honest) if place % 2 == 0 and (cause != "identity" or told["id"] < "C06")
    ]
    served = [
        tamper(stage, told, told_at(told["served_us"])) if place in planted else told
        for place, told in enumerate(honest)
    ]
    wrong = {
        (told["request"], name)
        for told, true in zip(served, honest, strict=True)
        for name, value in told["values"].items()
        if repr(value) != repr(true["values"][name])
    }
    assert len(wrong) >= 6
    stage.serve(served)
    found = judge(stage.ws, LAST)
    assert found.verdict == "mismatch"
    assert {(one.sample.request, one.feature) for one in found.differences if one.cause != "late"} == wrong
    assert {name: count for name, count in causes(found).items() if name != "late"} == {cause: len(wrong)}
    assert found.mismatches == len(wrong)


@pytest.mark.row("G4")
def test_links_from_the_future_are_a_fault_of_identity(stage: Stage) -> None:
    """Whose facts they are is known from a link of the next day: right now, wrong then."""
    stage.serve([stage.sample("C03", at(9.95), values=stage.oracle.live("C03", at(9.95), cutoff(LAST)))])
    found = judge(stage.ws, LAST)
    assert set(causes(found)) == {"identity"}
    assert {one.detail for one in found.differences} == {"by the links known now"}


def test_an_offset_needs_two_values(stage: Stage) -> None:
    """One wrong number that some other moment would give proves nothing; it is a transform."""
    name, served = "customer__views__24h", MOMENTS[3]
    told = stage.sample("C07", served)
    earlier = stage.oracle.live("C07", served - 6 * HOUR, told_at(told["applied_us"]))
    assert earlier[name] != told["values"][name]
    stage.serve([told | {"values": {name: earlier[name]}}])
    assert causes(judge(stage.ws, LAST)) == {"transform": 1}


@pytest.mark.row("G4")
def test_nightly_rows_are_judged_by_what_was_published(stage: Stage) -> None:
    """An older night than was online has expired; of a night published again nobody knows what it held before."""
    good, old, wrong = stage.nightly("C06", at(53), 1), stage.nightly("C07", at(53), 0), stage.nightly("C08", at(53), 1)
    wrong["values"] = wrong["values"] | {"customer__orders__30d": 99}
    just_before = stage.nightly("C10", at(50.1), 0)
    before_its_time = stage.nightly("C09", at(25), 0)
    stage.serve([good, old, wrong, just_before, before_its_time])
    found = judge(stage.ws, LAST)
    assert {(one.sample.id, one.cause) for one in found.differences} == {("C07", "expiry"), ("C08", "transform")}
    assert (found.judged, found.retired) == (4, 1)


@pytest.mark.row("G5")
def test_a_stale_value_passed_off_as_fresh_is_overdue(stage: Stage) -> None:
    served = MOMENTS[0]
    late = served - GROUP.live_freshness - MINUTE
    honest = stage.oracle.live("C06", served, late)
    known = {"applied_us": micros(late), "event_us": micros(late), "known_us": micros(late)}
    stage.serve([stage.sample("C06", served, values=honest, **known), stage.sample("C07", served)])
    found = judge(stage.ws, LAST)
    assert (found.overdue, found.mismatches, found.verdict) == (1, 0, "overdue")


def test_a_row_written_while_it_was_read_is_judged_at_its_own_moment(stage: Stage) -> None:
    """The answer is dated before the store was asked; the row that came back knows a click of just after."""
    click = at(9.7)
    values = stage.oracle.live("C01", click + SECOND, click + SECOND)
    times = {"event_us": micros(click + SECOND), "known_us": micros(click + SECOND)}
    told = stage.sample("C01", click - SECOND / 100, values=values, **times)
    assert values != stage.oracle.live("C01", click - SECOND / 100, click + SECOND)
    stage.serve([told])
    assert judge(stage.ws, LAST).mismatches == 0


def test_what_is_known_after_the_night_waits_and_what_nobody_declares_any_more_is_left_out(stage: Stage) -> None:
    gone = stage.sample("C06", MOMENTS[0], view="customer_activity_00000000__live")
    stage.serve([gone, stage.sample("C06", MOMENTS[0]), stage.sample("C07", at(36))])
    with file_of(stage.ws, NIGHT).open("a", encoding="utf-8") as out:
        out.write('{"request": "cut o')
    found = judge(stage.ws, NIGHT)
    assert (found.read, found.judged, found.pending, found.retired, found.unreadable) == (4, 1, 1, 1, 1)
    assert judge(stage.ws, LAST).judged == 2
    with pytest.raises(Rejected, match="the newest is 2026-05-26"):
        judge(stage.ws, LAST + DAY)


@pytest.mark.row("G4")
def test_the_report_counts_every_value_and_draws_it(stage: Stage) -> None:
    wrong = transformed(stage, stage.sample("C06", MOMENTS[0]), MOMENTS[0])
    stage.serve([wrong, stage.sample("C00", at(9.95)), *(stage.sample(who, MOMENTS[4]) for who in BUSY)])
    old, young = (file_of(stage.ws, LAST - days * DAY) for days in (31, 30))
    for file in (old, young):
        file.touch()
    told = measure(stage.ws, LAST)
    assert (old.exists(), young.exists()) == (False, True), "samples are forgotten after thirty days"
    written: dict[str, Any] = json.loads((stage.ws.folder("reports") / "parity" / f"{LAST}.json").read_text())
    assert written == told
    values = told["values"]
    assert values["mismatches"] == {"transform": 1}
    assert values["sampled"] == values["equal"] + values["late"] + 1 == 8 * len(GROUP.outputs)
    assert sum(entry["late"] for entry in told["features"]) == values["late"] == told["days"][str(NIGHT)]["late"] > 0
    assert told["mismatch_rate"] == 1 / values["sampled"]
    assert [one["cause"] for one in told["examples"]][:2] == ["transform", "late"]
    assert told["examples"][1]["events"] == ["behaviours:late"]
    picture = Path(told["plot"]).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000


@pytest.mark.row("G4")
def test_the_command_prints_what_differs_and_its_exit_code_says_so(stage: Stage) -> None:
    stage.serve([stage.sample("C06", MOMENTS[0])])
    assert printed(stage)[0] == 0
    stage.serve([transformed(stage, stage.sample("C06", MOMENTS[0]), MOMENTS[0]), stage.sample("C00", at(9.95))])
    code, text = printed(stage)
    assert code == 1
    for part in ("1 are mismatches (1 transform)", "customer__time_spent__30d", "behaviours:late", f"{LAST}.png"):
        assert part in text
    stage.serve([])
    code, text = printed(stage)
    assert (code, "There are no samples to judge." in text) == (0, True)


def printed(stage: Stage) -> tuple[int, str]:
    """Return what the command prints and its exit code."""
    console = Console(file=StringIO(), width=200)
    code = print_report(measure_parity(stage.ws, None), console)
    assert isinstance(console.file, StringIO)
    return code, console.file.getvalue()


def test_every_cause_is_planted() -> None:
    assert {cause for cause, _ in FAULTS.values()} == set(CAUSES)

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
from features.parity.compare import compare
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
def test_correct_serving_has_no_mismatch_and_late_values_are_explained(stage: Stage) -> None:
    """Honest is what the plain oracle says of the log at the applied time; a fault of the meter would show here too."""
    nightly = [stage.nightly(who, at(30.5), 0) for who in PEOPLE]
    stage.serve([stage.sample(who, moment) for who in PEOPLE for moment in [at(9.95), *MOMENTS]] + nightly)
    found = compare(stage.ws, LAST)
    assert found.verdict == "equal"
    assert (found.read, found.judged, found.pending, found.unreadable) == (96, 96, 0, 0)
    assert found.total.sampled == 84 * len(GROUP.outputs) + 12 * len(ORDERS.outputs)
    assert {view for view, _ in found.counts} == {GROUP.live_view, ORDERS.view}
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
def test_an_event_explains_only_features_that_count_it(stage: Stage) -> None:
    """A revised duration is late in what measures durations, and in nothing else."""
    stage.serve([stage.sample("C01", at(9.95))])
    late = {one.feature: one.events for one in compare(stage.ws, LAST).differences}
    assert set(late) == {"customer__time_spent__7d", "customer__time_spent__30d", "customer__linger__30d"}
    assert set(late.values()) == {("behaviours:revised",)}


def expired(stage: Stage, record: Row, served: datetime) -> Row:
    """Serve what was true an hour before, when the row was written: a five-minute count that nobody took back."""
    written = served - HOUR
    values = stage.oracle.live(record["id"], written, moment_of(record["applied_us"]))
    fresh = {name: record["values"][name] for name in values if "since" in name}
    return record | {"event_us": micros(written), "known_us": micros(written), "values": values | fresh}


def in_another_zone(stage: Stage, record: Row, served: datetime) -> Row:
    return record | {"values": stage.oracle.live(record["id"], served - 2 * HOUR, moment_of(record["applied_us"]))}


def in_another_type(_stage: Stage, record: Row, _served: datetime) -> Row:
    return record | {
        "values": record["values"] | {"customer__views__30d": float(record["values"]["customer__views__30d"])}
    }


def as_text(_stage: Stage, record: Row, _served: datetime) -> Row:
    return record | {
        "values": record["values"] | {"customer__views__30d": str(record["values"]["customer__views__30d"])}
    }


def transformed(_stage: Stage, record: Row, _served: datetime) -> Row:
    return record | {
        "values": record["values"]
        | {"customer__time_spent__30d": record["values"]["customer__time_spent__30d"] // 1000}
    }


def empty_as_zero(_stage: Stage, record: Row, _served: datetime) -> Row:
    return record | {"values": record["values"] | {"customer__linger__30d": None}}


def of_another_version(stage: Stage, record: Row, served: datetime) -> Row:
    return transformed(stage, record, served) | {"definition": "deadbeef"}


def without_links(stage: Stage, record: Row, served: datetime) -> Row:
    return record | {"values": stage.unlinked.live(record["id"], served, moment_of(record["applied_us"]))}


def moment_of(us: int) -> datetime:
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
def test_a_planted_fault_is_the_only_mismatch_and_has_its_cause(fault: str, stage: Stage) -> None:
    """Half of the rows are honest; of the others each value that differs is a mismatch with the one cause."""
    cause, plant = FAULTS[fault]
    correct = [stage.sample(who, moment) for who in ("C04", "C05", *BUSY) for moment in MOMENTS]
    planted = [
        place
        for place, record in enumerate(correct)
        if place % 2 == 0 and (cause != "identity" or record["id"] < "C06")
    ]
    served = [
        plant(stage, record, moment_of(record["served_us"])) if place in planted else record
        for place, record in enumerate(correct)
    ]
    wrong = {
        (record["request"], name)
        for record, true in zip(served, correct, strict=True)
        for name, value in record["values"].items()
        if repr(value) != repr(true["values"][name])
    }
    assert len(wrong) >= 6
    stage.serve(served)
    found = compare(stage.ws, LAST)
    assert found.verdict == "mismatch"
    assert {(one.sample.request, one.feature) for one in found.differences if one.cause != "late"} == wrong
    assert {name: count for name, count in causes(found).items() if name != "late"} == {cause: len(wrong)}
    assert found.mismatches == len(wrong)


@pytest.mark.row("G4")
def test_links_from_the_future_are_an_identity_fault(stage: Stage) -> None:
    """Whose facts they are is known from a link of the next day: right now, wrong then."""
    stage.serve([stage.sample("C03", at(9.95), values=stage.oracle.live("C03", at(9.95), cutoff(LAST)))])
    found = compare(stage.ws, LAST)
    assert set(causes(found)) == {"identity"}
    assert {one.detail for one in found.differences} == {"by the links known now"}


def test_a_time_zone_needs_two_values(stage: Stage) -> None:
    """One wrong number that some other moment would give proves nothing; it is a transform."""
    name, served = "customer__views__24h", MOMENTS[3]
    record = stage.sample("C07", served)
    earlier = stage.oracle.live("C07", served - 6 * HOUR, moment_of(record["applied_us"]))
    assert earlier[name] != record["values"][name]
    stage.serve([record | {"values": {name: earlier[name]}}])
    assert causes(compare(stage.ws, LAST)) == {"transform": 1}


@pytest.mark.row("G4")
def test_nightly_rows_are_compared_with_published_rows(stage: Stage) -> None:
    """An older night than was online has expired; of a night published again nobody knows what it held before."""
    good, old, wrong = stage.nightly("C06", at(53), 1), stage.nightly("C07", at(53), 0), stage.nightly("C08", at(53), 1)
    wrong["values"] = wrong["values"] | {"customer__orders__30d": 99}
    just_before = stage.nightly("C10", at(50.1), 0)
    before_its_time = stage.nightly("C09", at(25), 0)
    stage.serve([good, old, wrong, just_before, before_its_time])
    found = compare(stage.ws, LAST)
    assert {(one.sample.id, one.cause) for one in found.differences} == {("C07", "expiry"), ("C08", "transform")}
    assert (found.judged, found.retired) == (4, 1)


@pytest.mark.row("G5")
def test_a_stale_value_passed_off_as_fresh_is_overdue(stage: Stage) -> None:
    served = MOMENTS[0]
    late = served - GROUP.live_freshness - MINUTE
    correct = stage.oracle.live("C06", served, late)
    known = {"applied_us": micros(late), "event_us": micros(late), "known_us": micros(late)}
    stage.serve([stage.sample("C06", served, values=correct, **known), stage.sample("C07", served)])
    found = compare(stage.ws, LAST)
    assert (found.overdue, found.mismatches, found.verdict) == (1, 0, "overdue")


def test_a_row_written_during_the_read_is_compared_at_its_event_time(stage: Stage) -> None:
    """The answer is dated before the store was asked; the row that came back knows a click of just after."""
    click = at(9.7)
    values = stage.oracle.live("C01", click + SECOND, click + SECOND)
    times = {"event_us": micros(click + SECOND), "known_us": micros(click + SECOND)}
    record = stage.sample("C01", click - SECOND / 100, values=values, **times)
    assert values != stage.oracle.live("C01", click - SECOND / 100, click + SECOND)
    stage.serve([record])
    assert compare(stage.ws, LAST).mismatches == 0


def test_samples_after_the_night_are_pending_and_of_removed_views_retired(stage: Stage) -> None:
    gone = stage.sample("C06", MOMENTS[0], view="customer_activity_00000000__live")
    stage.serve([gone, stage.sample("C06", MOMENTS[0]), stage.sample("C07", at(36))])
    with file_of(stage.ws, NIGHT).open("a", encoding="utf-8") as out:
        out.write('{"request": "cut o')
    found = compare(stage.ws, NIGHT)
    assert (found.read, found.judged, found.pending, found.retired, found.unreadable) == (4, 1, 1, 1, 1)
    assert compare(stage.ws, LAST).judged == 2
    with pytest.raises(Rejected, match="the newest is 2026-05-26"):
        compare(stage.ws, LAST + DAY)


@pytest.mark.row("G4")
def test_the_report_counts_every_value_and_draws_it(stage: Stage) -> None:
    wrong = transformed(stage, stage.sample("C06", MOMENTS[0]), MOMENTS[0])
    stage.serve([wrong, stage.sample("C00", at(9.95)), *(stage.sample(who, MOMENTS[4]) for who in BUSY)])
    old, young = (file_of(stage.ws, LAST - days * DAY) for days in (31, 30))
    for file in (old, young):
        file.touch()
    record = measure(stage.ws, LAST)
    assert (old.exists(), young.exists()) == (False, True), "samples are forgotten after thirty days"
    written: dict[str, Any] = json.loads((stage.ws.folder("reports") / "parity" / f"{LAST}.json").read_text())
    assert written == record
    values = record["values"]
    assert values["mismatches"] == {"transform": 1}
    assert values["sampled"] == values["equal"] + values["late"] + 1 == 8 * len(GROUP.outputs)
    assert (
        sum(entry["late"] for entry in record["features"]) == values["late"] == record["days"][str(NIGHT)]["late"] > 0
    )
    assert record["mismatch_rate"] == 1 / values["sampled"]
    assert [one["cause"] for one in record["examples"]][:2] == ["transform", "late"]
    assert record["examples"][1]["events"] == ["behaviours:late"]
    picture = Path(record["plot"]).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000


@pytest.mark.row("G4")
def test_the_command_prints_differences_and_sets_the_exit_code(stage: Stage) -> None:
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

"""Silver is a pure function of bronze: one pass over the history equals nights run one by one, digest by digest."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.workspace import Workspace
from tests.small_companies import NIGHT, ORDER, deliver, digests, orders
from validation.bronze.ingest import ingest
from validation.gate.accounts import counts
from validation.gate.run import gate

NIGHTS = [NIGHT + timedelta(days=i) for i in range(3)]
ROOMS = ("bronze", "silver", "quarantine", "duplicates")
Rows = list[tuple[int, dict[str, str]]]


@st.composite
def deliveries(draw: st.DrawFn) -> Rows:
    """Draw rows with the night that delivers them: few ids, so that repeats, corrections and withdrawals meet."""
    night = draw(st.integers(0, 2))
    minute = draw(st.integers(0, 1439))
    moment = datetime(2026, 5, 25, tzinfo=UTC) + timedelta(days=night, minutes=minute)
    exported = draw(st.sampled_from([moment.isoformat(), moment.isoformat(), "soon", "2026-05-25T00:00:00Z"]))
    row = ORDER | {
        "event_id": draw(st.sampled_from("abc")),
        "source_id": draw(st.sampled_from(["C1", "C2"])),
        "event_time": draw(
            st.sampled_from(["2026-05-24T10:00:00Z", "2026-05-25 00:00:00", "2026-05-26T10:00:00Z", "?"])
        ),
        "amount_minor": draw(st.sampled_from(["500", "700", "-1"])),
        "revision": draw(st.sampled_from(["", "", "1", "2"])),
        "retracted": draw(st.sampled_from(["", "", "true"])),
        "exported_at": exported,
    }
    return [(night, row)] * draw(st.sampled_from([1, 1, 2]))


def write(home: Path, rows: Rows) -> None:
    """Write the nightly files of drawn rows; a night without rows has a file with a header only."""
    for i, night in enumerate(NIGHTS):
        deliver(home, f"transactions-{night}.csv", [row for n, row in rows if n == i], list(ORDER))


def ring(ws: Workspace, nights: Sequence[date]) -> dict[str, dict[date, str]]:
    """Run nights through the door; returns the digests of all tables."""
    for night in nights:
        ingest(ws, night)
        gate(ws, night)
    return digests(ws, *ROOMS)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(deliveries(), min_size=8, max_size=30).map(lambda parts: [row for part in parts for row in part]))
@pytest.mark.assure
def test_one_pass_equals_night_by_night(rows: Rows) -> None:
    """Late, repeated, corrected, withdrawn and broken rows among them; a night run again changes nothing."""
    with TemporaryDirectory() as folder:
        once, apart = Path(folder) / "once", Path(folder) / "apart"
        first = orders(once)
        second = orders(apart, skip_unchanged=False)
        write(once, [(0, ORDER | {"event_id": "z"}), *rows])
        write(apart, [(0, ORDER | {"event_id": "z"}), *rows])
        whole = ring(first, NIGHTS[-1:])
        assert ring(second, NIGHTS) == whole
        assert ring(second, [NIGHTS[1]]) == whole
        found = counts(first, NIGHTS[-1])["transactions"]
        assert found == counts(second, NIGHTS[-1])["transactions"]
        assert found["read"] == len(rows) + 1 == found["silver"] + found["quarantined"] + found["duplicates"]


@pytest.mark.row("T3")
def test_a_repeat_is_a_duplicate_and_another_payload_is_a_revision(tmp_path: Path) -> None:
    """Across nights too, with and without a revision number of the source."""
    ws = orders(tmp_path)
    numbered = ORDER | {"event_id": "n", "revision": "1"}
    night_one = [ORDER, ORDER, numbered]
    night_two = [
        ORDER,
        ORDER | {"amount_minor": "700"},
        numbered,
        numbered | {"revision": "2"},
        ORDER | {"retracted": "true"},
    ]
    later = [row | {"exported_at": "2026-05-26T09:00:00Z"} for row in night_two]
    deliver(tmp_path, f"transactions-{NIGHTS[0]}.csv", night_one)
    deliver(tmp_path, f"transactions-{NIGHTS[1]}.csv", later)
    ring(ws, NIGHTS[:2])
    silver = ws.lake.read("silver/transactions").sort_by([("ingested_at", "ascending"), ("position", "ascending")])
    kept = [(str(r["event_id"]), r["amount_minor"], r["revision"], r["retracted"]) for r in silver.to_pylist()]
    assert kept == [
        ("transactions:1", 500, None, False),
        ("transactions:n", 500, 1, False),
        ("transactions:1", 700, None, False),
        ("transactions:n", 500, 2, False),
        ("transactions:1", 500, None, True),
    ]
    assert counts(ws, NIGHTS[1])["transactions"] == {"read": 8, "silver": 5, "quarantined": 0, "duplicates": 3}


def test_what_arrives_for_a_closed_night_is_stamped_just_after_it(tmp_path: Path) -> None:
    """A changed file adds its new rows to the next night; the closed night keeps its digest."""
    ws = orders(tmp_path)
    for night in NIGHTS[:2]:
        deliver(tmp_path, f"transactions-{night}.csv", [ORDER | {"event_id": str(night)}])
    before = ring(ws, NIGHTS[:1])
    deliver(
        tmp_path, f"transactions-{NIGHTS[0]}.csv", [ORDER | {"event_id": "late"}, ORDER | {"event_id": str(NIGHTS[0])}]
    )
    assert ring(ws, NIGHTS[:1]) == before
    after = ring(ws, NIGHTS[1:2])
    assert {table: found[NIGHTS[0]] for table, found in after.items() if NIGHTS[0] in found} == {
        table: found[NIGHTS[0]] for table, found in before.items() if NIGHTS[0] in found
    }
    rows = {row["event_id"]: row["ingested_at"] for row in ws.lake.read("silver/transactions").to_pylist()}
    assert rows["transactions:late"] == datetime(2026, 5, 26, tzinfo=UTC)
    assert len(rows) == 3

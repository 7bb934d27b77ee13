"""Clocks that go wrong and odd days: the nights are UTC days all the same, and nothing comes from the future."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.clock import FixedClock, Nights, cutoff, refuse_open_night, start_of
from infra.settings import ROOT
from rapport_feast.errors import Rejected
from rapport_feast.row.layout import FOREVER_US
from rapport_feast.times import DAY
from serving.lookup.ladder import Ladder, ReplyPlaces
from serving.lookup.views import View, Views
from serving.lookup.writer_status import WriterStatus
from serving.timestamps import micros
from tests.small_companies import NIGHT, ORDER, deliver, orders, source, workspace
from validation.bronze.ingest import ingest
from validation.gate.run import gate

MINUTES = timedelta(minutes=10)
SPANS = {
    "leap": Nights(date(2024, 2, 27), date(2024, 3, 2)),
    "europe_spring": Nights(date(2026, 3, 28), date(2026, 3, 30)),
    "europe_autumn": Nights(date(2026, 10, 24), date(2026, 10, 26)),
    "us_spring": Nights(date(2026, 3, 7), date(2026, 3, 9)),
    "us_autumn": Nights(date(2026, 10, 31), date(2026, 11, 2)),
}
CLICK = ["event_id", "source_id", "event_time", "kind", "session_id", "page", "exported_at"]


@given(st.datetimes(datetime(2024, 2, 27), datetime(2024, 3, 2), timezones=st.just(UTC)))
def test_a_night_is_over_from_its_cutoff_on_whatever_the_day(now: datetime) -> None:
    """Leap day or not; a clock that is ahead or behind moves the moment by as much and no more."""
    nights = Nights(now.date() - 2 * DAY, now.date() + DAY)
    for night in nights:
        assert cutoff(night) - start_of(night) == DAY - timedelta(microseconds=1)
        if now > cutoff(night):
            refuse_open_night(night, FixedClock(now))
        else:
            with pytest.raises(Rejected, match=str(night)):
                refuse_open_night(night, FixedClock(now))


@pytest.mark.row("F16")
def test_a_night_that_was_over_and_is_not_after_the_clock_jumped_back_is_refused(tmp_path: Path) -> None:
    """Nothing of it is lost: it runs once the clock has caught up."""
    from dataclasses import replace

    ws = orders(tmp_path)
    deliver(tmp_path, f"transactions-{NIGHT}.csv", [ORDER])
    behind = replace(ws, clock=FixedClock(cutoff(NIGHT) - MINUTES))
    ahead = replace(ws, clock=FixedClock(cutoff(NIGHT) + MINUTES))
    ingest(ahead, NIGHT)
    with pytest.raises(Rejected, match="over by"):
        gate(behind, NIGHT)
    gate(ahead, NIGHT)
    assert ws.lake.read("silver/transactions").num_rows == 1


@pytest.mark.row("F16")
def test_what_a_fast_clock_dates_ahead_of_its_arrival_is_parked_whole_with_its_reason(tmp_path: Path) -> None:
    """The source's clock is 10 minutes ahead of that of the export; a slow one only looks late."""
    ws = orders(tmp_path)
    arrived = datetime.fromisoformat(ORDER["exported_at"])
    skews = {"fast": MINUTES, "exact": timedelta(0), "slow": -MINUTES}
    rows = [ORDER | {"event_id": name, "event_time": (arrived + skew).isoformat()} for name, skew in skews.items()]
    deliver(tmp_path, f"transactions-{NIGHT}.csv", rows)
    ingest(ws, NIGHT)
    gate(ws, NIGHT)
    (parked,) = ws.lake.read("quarantine/transactions").to_pylist()
    assert parked["reason"] == "event_time_in_the_future"
    assert json.loads(parked["raw"])["event_time"] == rows[0]["event_time"]
    silver = ws.lake.read("silver/transactions").to_pylist()
    assert sorted(row["event_id"] for row in silver) == ["transactions:exact", "transactions:slow"]
    assert all(row["event_time"] <= row["ingested_at"] for row in silver)


@given(st.timedeltas(-2 * MINUTES, 2 * MINUTES))
def test_no_value_is_younger_than_new(skew: timedelta) -> None:
    """A service whose clock is behind that of the night sees a value from the future: it is new, not less than that."""
    at = cutoff(NIGHT)
    view = View("v", "g", "customer", "customer_id", {"f": "int64"}, "0a1b2c3d", 0, "nightly", "v__prior")
    chain = Ladder(view, "v", {"f": 0}, Views("p", NIGHT, {"v": view}), ReplyPlaces())
    row = view.packing.pack(micros(at), micros(at), FOREVER_US, [1])
    outcome = chain.fall_to_usable([row], micros(at + skew), WriterStatus(cutoff_us=micros(at)), Counter())
    assert outcome.age_us == max(skew // timedelta(microseconds=1), 0)


def companies(folder: Path) -> None:
    """Write a company for each span of days: one customer who looks at a page at half past every hour, UTC."""
    for name, nights in SPANS.items():
        workspace(folder / name, source("behaviours", CLICK))
        for night in nights:
            times = [start_of(night) + timedelta(hours=hour, minutes=30) for hour in range(24)]
            rows = [
                {"event_id": str(at), "source_id": "C1", "event_time": at.isoformat(), "kind": "page_view"}
                | {"session_id": "S", "page": "home", "exported_at": (at + MINUTES).isoformat()}
                for at in times
            ]
            deliver(folder / name, f"behaviours-{night}.csv", rows, CLICK)


def nights_in(folder: Path, zone: str, *, faked: bool) -> dict[str, Any]:
    """Run the nights in a process whose machine has a time zone of its own, and a clock that goes wrong."""
    words = [sys.executable, "-W", "ignore", "-m", "tests.faults.calendar_nights", str(folder), zone.replace("/", "_")]
    environment = os.environ | {"TZ": zone, "PYTHONPATH": str(ROOT)}
    if faked:
        told = folder / "faketime"
        told.write_text("+10m")
        # The program ``faketime`` sets a time that no file can change, so it is asked for its library alone.
        library = subprocess.run(
            ["faketime", "-m", "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True
        )
        environment |= {"LD_PRELOAD": library.stdout.strip(), "FAKETIME_TIMESTAMP_FILE": str(told)}
        environment |= {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        words.append(str(told))
    done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.row("F16")
@pytest.mark.slow
def test_odd_days_and_wrong_clocks_give_the_nights_of_a_plain_machine(tmp_path: Path) -> None:
    """Leap day, days of 23 and 25 hours, a clock that is 10 minutes ahead and then 10 minutes behind."""
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed (apt-get install faketime), so no process ran by a wrong clock")
    companies(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        cases = {"UTC": False, "Europe/Berlin": True, "America/New_York": False}
        plain, berlin, new_york = pool.map(lambda zone: nights_in(tmp_path, zone, faked=cases[zone]), cases)
    for name, nights in SPANS.items():
        counted = {str(night): [24, 24 * (number + 1)] for number, night in enumerate(nights)}
        assert plain[name]["counted"] == counted
    assert berlin == plain
    assert new_york == plain

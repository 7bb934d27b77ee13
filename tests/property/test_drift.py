"""Drift: few false alarms without a drift, and half a standard deviation found in the first window that holds it."""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.clock import Nights
from rapport_feast.errors import Rejected
from training.drift_windows import Windows, floors_of, windows_of
from validation.watch.comparison import FLOOR, Kind, ks_distance
from validation.watch.drift import compare
from validation.watch.windows import whole_weeks

NUMBERS = [f"x{i}" for i in range(6)]
KINDS: dict[str, Kind] = {**dict.fromkeys(NUMBERS, "feature"), "plan": "feature", "score": "score", "label": "label"}
WINDOWS = 50


def sample(rng: np.random.Generator, rows: int, shift: float = 0.0) -> pd.DataFrame:
    """Return rows of numbers, counts and words; the first number moves by so many standard deviations."""
    frame = pd.DataFrame({name: rng.normal(size=rows) for name in NUMBERS})
    frame["x0"] += shift
    frame["x1"] = rng.poisson(1.5, rows)
    frame["x2"] = np.where(rng.random(rows) < 0.3, np.nan, frame["x2"])
    return frame.assign(
        plan=rng.choice(["basic", "plus", "pro"], rows, p=[0.6, 0.3, 0.1]),
        score=rng.beta(2, 5, rows),
        label=(rng.random(rows) < 0.2).astype(float),
    )


@pytest.mark.assure
def test_at_most_one_false_alarm_in_fifty(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    sizes = [400, 2000] * (WINDOWS // 2)
    alarms = [compare(sample(rng, rows), sample(rng, rows), KINDS, tmp_path).verdict for rows in sizes]
    assert alarms.count("yes") <= 1
    assert alarms.count("too few rows") == 0


@pytest.mark.parametrize("seed", range(5))
def test_half_a_standard_deviation_is_found_in_one_window(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    found = compare(sample(rng, 2000), sample(rng, 2000, shift=0.5), KINDS, tmp_path)
    assert found.verdict == "yes"
    assert [one.column for one in found.drifted] == ["x0"]
    assert found.drifted[0].effect > FLOOR
    assert "x0" in found.reason


def test_what_evidently_found_is_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    found = compare(sample(rng, 500), sample(rng, 500), KINDS, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    said = {m["config"]["column"]: m["value"] for m in report["metrics"]}
    assert {one.column: one.p_value for one in found.columns} == pytest.approx(said)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert json.loads((tmp_path / "verdict.json").read_text())["verdict"] == found.verdict


def test_missing_values_and_new_words_count(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    old, new = sample(rng, 1500), sample(rng, 1500)
    new.loc[rng.random(1500) < 0.4, "x3"] = np.nan
    new["plan"] = np.where(rng.random(1500) < 0.3, "enterprise", new["plan"])
    found = compare(old, new, KINDS, tmp_path)
    assert {one.column for one in found.drifted} == {"x3 is missing", "plan"}


def test_too_few_rows_are_no_verdict(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    found = compare(sample(rng, 2000), sample(rng, 100, shift=3.0), KINDS, tmp_path)
    assert found.verdict == "too few rows"
    assert "100 rows" in found.reason


@given(st.dates(date(2020, 1, 1), date(2030, 1, 1)), st.integers(0, 60))
def test_a_reference_holds_whole_weeks_and_no_current_night(trained: date, age: int) -> None:
    night = trained + timedelta(days=age)
    windows = windows_of(trained, night)
    assert len(windows.reference) % 7 == 0
    assert len(windows.current) == 7
    assert windows.reference.last < windows.current.first
    assert windows.reference.last <= trained
    assert windows.distance >= 7


def test_no_whole_week_is_refused() -> None:
    with pytest.raises(Rejected, match="whole week"):
        whole_weeks(Nights(date(2026, 6, 1), date(2026, 6, 6)))


def test_a_weekly_season_is_no_drift_over_whole_weeks(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)

    def days(first: date, count: int) -> pd.DataFrame:
        night = [first + timedelta(days=int(i)) for i in rng.integers(0, count, 2000)]
        weekend = np.array([one.weekday() >= 5 for one in night])
        return pd.DataFrame({"views": rng.normal(size=2000) - 2.0 * weekend})

    monday = date(2026, 6, 1)
    kinds: dict[str, Kind] = {"views": "feature"}
    assert compare(days(monday, 28), days(monday + timedelta(days=31), 7), kinds, tmp_path).verdict == "no"
    assert compare(days(monday, 5), days(monday + timedelta(days=7), 7), kinds, tmp_path).verdict == "yes"


def test_a_trend_of_the_training_window_may_go_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    first = date(2026, 6, 1)

    def tenure(start: int, count: int) -> pd.DataFrame:
        day = rng.integers(start, start + count, 3000)
        night = [first + timedelta(days=int(d)) for d in day]
        return pd.DataFrame({"night": night, "tenure": rng.uniform(0, 60, 3000) + day, "steady": rng.normal(size=3000)})

    old, new = tenure(0, 28), tenure(28, 7)
    windows = Windows(
        Nights(first, first + timedelta(days=27)), Nights(first + timedelta(days=28), first + timedelta(days=34))
    )
    kinds: dict[str, Kind] = {"tenure": "feature", "steady": "feature"}
    floors = floors_of(old, windows, list(kinds))
    assert floors["steady"] == FLOOR
    assert compare(old, new, kinds, tmp_path).verdict == "yes"
    assert compare(old, new, kinds, tmp_path, floors=floors).verdict == "no"
    assert compare(old, new.assign(steady=new["steady"] + 0.5), kinds, tmp_path, floors=floors).verdict == "yes"


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30), st.lists(st.integers(-5, 5), min_size=1, max_size=30))
def test_the_distance_is_that_of_scipy(old: list[int], new: list[int]) -> None:
    from scipy.stats import ks_2samp

    first, second = np.array(old, dtype=float), np.array(new, dtype=float)
    assert ks_distance(first, second) == pytest.approx(ks_2samp(first, second, method="asymp").statistic)

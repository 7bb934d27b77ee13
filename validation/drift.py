"""Drift: recent features, scores and labels against those of the training window, by Evidently, with our verdict.

Evidently runs the tests and draws the report; its own rules alarm on noise, so the verdict is ours: Holm's correction
over all columns at a declared rate of false alarms, and an effect that is large enough to matter.
``training/retrain.py`` assembles the rows and acts on the verdict.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from infra.clock import Nights
from infra.errors import Rejected

Kind = Literal["feature", "score", "label"]
FALSE_ALARMS = 0.01
"""Chance that a comparison without any drift says yes, at most."""
MIN_ROWS = 300
FLOOR = 0.1
"""Smallest difference of distribution functions (or of shares) that counts; half a standard deviation makes 0.2."""
MISSING = " is missing"
FEW_VALUES = 2


@dataclass(frozen=True)
class Found:
    """What was found of one column: its p-value, how far the distributions lie apart, how far they had to."""

    column: str
    kind: Kind
    test: str
    p_value: float
    effect: float
    floor: float


@dataclass(frozen=True)
class Verdict:
    """Whether the columns drifted, which ones did, and a sentence that says why."""

    verdict: Literal["yes", "no", "too few rows"]
    drifted: tuple[Found, ...]
    columns: tuple[Found, ...]
    reason: str


def whole_weeks(nights: Nights) -> Nights:
    """Return the newest whole weeks of some nights: a reference of weekdays alone makes every weekend a drift.

    Raises
    ------
    Rejected
        There is no whole week.
    """
    weeks = len(nights) // 7
    if not weeks:
        raise Rejected("drift window", "at least one whole week of nights", str(nights))
    return Nights(nights.last - timedelta(days=weeks * 7 - 1), nights.last)


def compare(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    kinds: Mapping[str, Kind],
    report: Path,
    *,
    alpha: float = FALSE_ALARMS,
    min_rows: int = MIN_ROWS,
    floors: Mapping[str, float] = MappingProxyType({}),
) -> Verdict:
    """Compare two samples column by column.

    Parameters
    ----------
    reference, current
        Rows of independent entities; both over whole weeks. A label may stand in fewer rows than the rest.
    kinds
        Column = what it is; nothing else is compared.
    report
        Folder that gets ``report.html`` and ``report.json`` of Evidently and ``verdict.json``.
    alpha
        Chance of a false alarm over all columns together.
    min_rows
        A column with fewer values on either side is left out; without any column left there is no verdict.
    floors
        Column = effect below which nothing counts, where it is not ``FLOOR``.

    Returns
    -------
    Verdict
        Numbers by the two-sample Kolmogorov-Smirnov test and its distance, words and truth values by the chi-square
        test and the total variation distance; missing values are a column of their own.
    """
    usable = _usable(reference, current, kinds, min_rows)
    if not usable:
        rows = min(len(reference), len(current))
        return _written(
            Verdict("too few rows", (), (), f"Nothing to compare: {rows} rows on one side, {min_rows} are needed."),
            report,
        )
    old, new, kinds = _with_missing(reference, current, usable, kinds)
    numbers = [c for c in kinds if _is_number(old[c], new[c])]
    p_values = _evidently(old[list(kinds)], new[list(kinds)], numbers, alpha, report)
    found = tuple(
        Found(
            c,
            kind,
            "ks" if c in numbers else "chisquare",
            p_values[c],
            _distance(old[c], new[c], c in numbers),
            max(floors.get(c, 0.0), FLOOR),
        )
        for c, kind in kinds.items()
    )
    drifted = tuple(f for f in holm(found, alpha) if f.effect >= f.floor)
    return _written(Verdict("yes" if drifted else "no", drifted, found, _reason(found, drifted)), report)


def holm(found: Sequence[Found], alpha: float) -> list[Found]:
    """Return the columns whose p-values stand Holm's step-down correction (Holm 1979), strongest first."""
    kept = []
    for i, one in enumerate(sorted(found, key=lambda f: f.p_value)):
        if one.p_value > alpha / (len(found) - i):
            break
        kept.append(one)
    return kept


def _usable(reference: pd.DataFrame, current: pd.DataFrame, kinds: Mapping[str, Kind], min_rows: int) -> list[str]:
    there = [c for c in kinds if c in reference and c in current]
    return [c for c in there if min(reference[c].notna().sum(), current[c].notna().sum()) >= min_rows]


def _with_missing(
    reference: pd.DataFrame, current: pd.DataFrame, usable: Sequence[str], kinds: Mapping[str, Kind]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Kind]]:
    """Add a truth value per feature whose share of missing values moved so far that it may count; not of labels."""
    gone = {c: abs(reference[c].isna().mean() - current[c].isna().mean()) for c in usable if kinds[c] == "feature"}
    gaps = [c for c, moved in gone.items() if moved > FLOOR / 2]
    frames = [
        frame[list(usable)].assign(**{c + MISSING: frame[c].isna().astype(str) for c in gaps})
        for frame in (reference, current)
    ]
    return frames[0], frames[1], {c: kinds[c] for c in usable} | {c + MISSING: kinds[c] for c in gaps}


def _is_number(old: pd.Series, new: pd.Series) -> bool:
    """Whether a column is compared by its order: a number with more than two values."""
    return (
        pd.api.types.is_numeric_dtype(old)
        and len(np.union1d(old.dropna().unique(), new.dropna().unique())) > FEW_VALUES
    )


def _distance(old: pd.Series, new: pd.Series, number: bool) -> float:
    if number:
        return ks_distance(old.dropna().to_numpy("float64"), new.dropna().to_numpy("float64"))
    shares = pd.concat([old.value_counts(normalize=True), new.value_counts(normalize=True)], axis=1).fillna(0.0)
    return float((shares.iloc[:, 0] - shares.iloc[:, 1]).abs().sum() / 2)


def ks_distance(old: npt.NDArray[np.float64], new: npt.NDArray[np.float64]) -> float:
    """Return the greatest difference of two empirical distribution functions.

    Examples
    --------
    >>> ks_distance(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.5
    """
    points = np.concatenate([old, new])
    ends = [np.searchsorted(np.sort(part), points, side="right") / len(part) for part in (old, new)]
    return float(np.abs(ends[0] - ends[1]).max())


def _evidently(
    reference: pd.DataFrame, current: pd.DataFrame, numbers: Sequence[str], alpha: float, folder: Path
) -> dict[str, float]:
    """Run Evidently's tests, each at the threshold of Bonferroni, save its report, and return the p-values."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    folder.mkdir(parents=True, exist_ok=True)
    words = [c for c in reference if c not in numbers]
    definition = DataDefinition(numerical_columns=list(numbers), categorical_columns=words)
    metrics = [
        ValueDrift(column=c, method="ks" if c in numbers else "chisquare", threshold=alpha / reference.shape[1])
        for c in reference
    ]
    frames = [frame.astype(dict.fromkeys(words, "object")) for frame in (current, reference)]
    # A category that only one side has makes scipy divide by zero on its way to p = 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        result = Report(metrics).run(*(Dataset.from_pandas(frame, definition) for frame in frames))
    result.save_html(str(folder / "report.html"))
    result.save_json(str(folder / "report.json"))
    return {m["config"]["column"]: float(np.nan_to_num(m["value"], nan=1.0)) for m in result.dict()["metrics"]}


def _reason(found: Sequence[Found], drifted: Sequence[Found]) -> str:
    if not drifted:
        return f"None of {len(found)} columns moved by more than chance and more than its floor."
    strongest = sorted(drifted, key=lambda f: -f.effect)[:5]
    named = ", ".join(f"{f.column} ({f.effect:.2f})" for f in strongest)
    return f"{len(drifted)} of {len(found)} columns moved: {named}."


def _written(verdict: Verdict, folder: Path) -> Verdict:
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "columns": [vars(f) for f in verdict.columns],
        "drifted": [f.column for f in verdict.drifted],
    }
    (folder / "verdict.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    return verdict

"""Drift: recent features, scores and labels against those of the training window, by Evidently, with our verdict.

Evidently runs the tests and draws the report; its own rules alarm on noise, so the verdict is ours: Holm's correction
over all columns at a declared rate of false alarms, and an effect that is large enough to matter.
``training/retrain.py`` assembles the rows and acts on the verdict.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import pandas as pd

from validation.watch.comparison import FLOOR, ColumnDrift, Kind, distance, holm, is_number
from validation.watch.evidently_tests import run_tests

FALSE_ALARMS = 0.01
"""Chance that a comparison without any drift says yes, at most."""


MIN_ROWS = 300
MISSING = " is missing"


@dataclass(frozen=True)
class Verdict:
    """Whether the columns drifted, which ones did, and a sentence that says why."""

    verdict: Literal["yes", "no", "too few rows"]
    drifted: tuple[ColumnDrift, ...]
    columns: tuple[ColumnDrift, ...]
    reason: str


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
    numbers = [c for c in kinds if is_number(old[c], new[c])]
    p_values = run_tests(old[list(kinds)], new[list(kinds)], numbers, alpha, report)
    found = tuple(
        ColumnDrift(
            c,
            kind,
            "ks" if c in numbers else "chisquare",
            p_values[c],
            distance(old[c], new[c], c in numbers),
            max(floors.get(c, 0.0), FLOOR),
        )
        for c, kind in kinds.items()
    )
    drifted = tuple(f for f in holm(found, alpha) if f.effect >= f.floor)
    return _written(Verdict("yes" if drifted else "no", drifted, found, _reason(found, drifted)), report)


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


def _reason(found: Sequence[ColumnDrift], drifted: Sequence[ColumnDrift]) -> str:
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

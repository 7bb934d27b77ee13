"""What the parity meter found, written down: ``reports/parity/<night>.json`` and a picture beside it.

Comes after ``parity.py``; the DAG of parity and ``rapport parity`` call it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.causes import CAUSES
from features.facts import DAY_MICROS
from features.parity import DAYS, EQUAL, LATE, NOT_EXAMINED, Difference, Parity, Tally, judge
from features.store.published import write_json
from infra.clock import start_of
from infra.workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Differences of each cause that are written out, the rest is only counted.
EXAMPLES = 20
SHADES = {EQUAL: "#c9d6e3", LATE: "#1f4e79"}
FAULTS = ("#b5322d", "#d9822b", "#e0b83c", "#7a4fa3", "#2f8f7f", "#5f5f5f", "#000000")


def measure(ws: Workspace, night: date, days: int = DAYS) -> dict[str, Any]:
    """Judge a night's samples and write the report.

    Returns
    -------
    dict
        The report, with the path of its ``plot``.

    Raises
    ------
    Rejected
        The night was not built.
    """
    parity = judge(ws, night, days)
    content = report(parity) | {"plot": str(file_of(ws, night, "png"))}
    draw(parity, file_of(ws, night, "png"))
    write_json(file_of(ws, night, "json"), content)
    return content


def file_of(ws: Workspace, night: date, kind: str) -> Path:
    """Return where a night's report lies: ``json``, or ``png`` for the picture."""
    folder = ws.folder("reports") / "parity"
    folder.mkdir(exist_ok=True)
    return folder / f"{night}.{kind}"


def report(parity: Parity) -> dict[str, Any]:
    """Return what was found as JSON-able values; rates are shares of the values sampled."""
    whole = parity.whole
    return {
        "night": str(parity.night),
        "verdict": parity.verdict,
        "rows": {
            "read": parity.read,
            "judged": parity.judged,
            "pending": parity.pending,
            "retired": parity.retired,
            "unreadable": parity.unreadable,
            "overdue": parity.overdue,
        },
        "values": _counts(whole),
        "mismatch_rate": whole.mismatches.total() / whole.sampled if whole.sampled else None,
        "late_rate": whole.late / whole.sampled if whole.sampled else None,
        "features": [
            {"view": view, "feature": feature, **_counts(tally)}
            for (view, feature), tally in sorted(parity.tallies.items())
        ],
        "days": {str(day): _counts(tally) for day, tally in sorted(parity.days.items())},
        "examples": [_example(one) for one in _chosen(parity.differences)],
    }


def _counts(tally: Tally) -> dict[str, Any]:
    return {
        "sampled": tally.sampled,
        "equal": tally.equal,
        "late": tally.late,
        "mismatches": dict(sorted(tally.mismatches.items())),
    }


def _chosen(differences: Iterable[Difference]) -> list[Difference]:
    """Return the first differences of each cause, faults first."""
    by_cause: dict[str, list[Difference]] = {cause: [] for cause in (*CAUSES, NOT_EXAMINED, LATE)}
    for one in differences:
        by_cause[one.cause].append(one)
    return [one for found in by_cause.values() for one in found[:EXAMPLES]]


def _example(one: Difference) -> dict[str, Any]:
    sample = one.sample
    return {
        "cause": one.cause,
        "detail": one.detail,
        "request": sample.request,
        sample.entity: sample.id,
        "view": sample.view,
        "feature": one.feature,
        "served": sample.values[one.feature],
        "truth": one.truth,
        "served_at": _moment(sample.served_us),
        "known_at": _moment(sample.knew_us),
        "events": list(one.events),
    }


def _moment(micros: int) -> str:
    days, rest = divmod(micros, DAY_MICROS)
    return f"{date.fromordinal(date(1970, 1, 1).toordinal() + days)}T{_clock(rest)}Z"

"""What the parity meter found, written down: ``reports/parity/<night>.json`` and a picture beside it.

Comes after ``compare.py``; the DAG of parity and ``rapport parity`` call it.
"""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from features.parity.causes import CAUSES
from features.parity.compare import DAYS, compare
from features.parity.plot import draw
from features.parity.result import LATE, NOT_EXAMINED, Difference, ParityResult, ValueCounts
from features.parity.samples import forget_samples
from infra.clock import start_of
from infra.telemetry import Log
from infra.workspace import Workspace
from rapport_feast.atomic import write_json
from rapport_feast.times import DAY, EPOCH_DAY

LOG = Log(__name__)

KEPT_DAYS = 30


# Differences of each cause that are written out, the rest is only counted.
EXAMPLES = 20


def measure(ws: Workspace, night: date, days: int = DAYS) -> dict[str, Any]:
    """Judge a night's samples, write the report, and forget the samples of ``KEPT_DAYS`` ago.

    Returns
    -------
    dict
        The report, with the path of its ``plot``.

    Raises
    ------
    Rejected
        The night was not built.
    """
    parity = compare(ws, night, days)
    content = report(parity) | {"plot": str(file_of(ws, night, "png"))}
    draw(parity, file_of(ws, night, "png"))
    write_json(file_of(ws, night, "json"), content)
    forget_samples(ws, night - KEPT_DAYS * DAY)
    LOG.info("parity judged", night=night, checked=parity.total.sampled, differences=parity.mismatches)
    return content


def file_of(ws: Workspace, night: date, kind: str) -> Path:
    """Return where a night's report lies: ``json``, or ``png`` for the picture."""
    folder = ws.folder("reports") / "parity"
    folder.mkdir(exist_ok=True)
    return folder / f"{night}.{kind}"


def report(parity: ParityResult) -> dict[str, Any]:
    """Return what was found as JSON-able values; rates are shares of the values sampled."""
    total = parity.total
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
        "values": _counts(total),
        "mismatch_rate": total.mismatches.total() / total.sampled if total.sampled else None,
        "late_rate": total.late / total.sampled if total.sampled else None,
        "features": [
            {"view": view, "feature": feature, **_counts(counts)}
            for (view, feature), counts in sorted(parity.counts.items())
        ],
        "days": {str(day): _counts(counts) for day, counts in sorted(parity.days.items())},
        "examples": [_example(one) for one in _chosen(parity.differences)],
    }


def sentence(report: Mapping[str, Any]) -> str:
    """Return a report in one sentence.

    Examples
    --------
    >>> sentence({"values": {"sampled": 1200, "late": 7, "mismatches": {"type": 2}}, "rows": {"overdue": 0}})
    'Of 1,200 values 2 are mismatches (2 type) and 7 late.'
    """
    values, overdue = report["values"], report["rows"]["overdue"]
    if not values["sampled"]:
        return "There are no samples to judge."
    wrong = ", ".join(f"{count:,} {cause}" for cause, count in values["mismatches"].items())
    text = f"Of {values['sampled']:,} values {sum(values['mismatches'].values()):,} are mismatches"
    text += (f" ({wrong})" if wrong else "") + f" and {values['late']:,} late"
    return text + (f"; {overdue:,} live rows were passed off as fresh." if overdue else ".")


def _counts(counts: ValueCounts) -> dict[str, Any]:
    return {
        "sampled": counts.sampled,
        "equal": counts.equal,
        "late": counts.late,
        "mismatches": dict(sorted(counts.mismatches.items())),
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
    return (start_of(EPOCH_DAY) + timedelta(microseconds=micros)).isoformat(timespec="microseconds")

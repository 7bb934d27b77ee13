"""What the parity meter found, written down: ``reports/parity/<night>.json`` and a picture beside it.

Comes after ``parity.py``; the DAG of parity and ``rapport parity`` call it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.causes import CAUSES
from features.parity import DAYS, LATE, NOT_EXAMINED, Difference, Parity, Tally, judge
from features.samples import forget_samples
from features.store.published import write_json
from infra.clock import DAY, EPOCH, start_of
from infra.workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEPT_DAYS = 30
# Differences of each cause that are written out, the rest is only counted.
EXAMPLES = 20
FAULTS = ("#7a4fa3", "#e0b83c", "#d9822b", "#2f8f7f", "#c2609a", "#b5322d", "#5f5f5f")
SHADES = {LATE: "#9db8d3", **dict(zip((*CAUSES, NOT_EXAMINED), FAULTS, strict=True))}


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
    parity = judge(ws, night, days)
    content = report(parity) | {"plot": str(file_of(ws, night, "png"))}
    draw(parity, file_of(ws, night, "png"))
    write_json(file_of(ws, night, "json"), content)
    forget_samples(ws, night - KEPT_DAYS * DAY)
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
    said = f"Of {values['sampled']:,} values {sum(values['mismatches'].values()):,} are mismatches"
    said += (f" ({wrong})" if wrong else "") + f" and {values['late']:,} late"
    return said + (f"; {overdue:,} live rows were passed off as fresh." if overdue else ".")


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
    return (start_of(EPOCH) + timedelta(microseconds=micros)).isoformat(timespec="microseconds")


def draw(parity: Parity, path: Path) -> None:
    """Draw which share of the values was another one: by view, and by day of serving."""
    from matplotlib.figure import Figure

    views = _by_view(parity)
    figure = Figure(figsize=(10, 1.8 + 0.32 * max(len(views), 4)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    whole = parity.whole
    wrong, judged = whole.mismatches.total(), f"{whole.sampled:,} values in {parity.judged:,} rows"
    figure.suptitle(f"Parity by night {parity.night}: {wrong:,} mismatches, {whole.late:,} late, {judged}", fontsize=11)
    shown = [LATE, *(cause for cause in (*CAUSES, NOT_EXAMINED) if whole.mismatches[cause])]
    _bars(left, views, shown, "by view")
    left.invert_yaxis()
    _bars(right, {f"{day:%d %b}": tally for day, tally in sorted(parity.days.items())}, shown, "by day of serving")
    right.invert_yaxis()
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _by_view(parity: Parity) -> dict[str, Tally]:
    views: dict[str, Tally] = {}
    for (view, _feature), tally in sorted(parity.tallies.items()):
        views.setdefault(view, Tally()).add(tally)
    return views


def _bars(axes: "Axes", tallies: Mapping[str, Tally], shown: Sequence[str], title: str) -> None:
    """Draw a bar for each tally: what of its values is late, and what is wrong for which cause."""
    names = [f"{name} ({tally.sampled:,})" for name, tally in tallies.items()]
    before = [0.0] * len(names)
    for cause in shown:
        counted = [tally.late if cause == LATE else tally.mismatches[cause] for tally in tallies.values()]
        shares = [100 * count / tally.sampled for count, tally in zip(counted, tallies.values(), strict=True)]
        axes.barh(names, shares, left=before, color=SHADES[cause], label=cause, height=0.65)
        before = [one + other for one, other in zip(before, shares, strict=True)]
    for place, share in enumerate(before):
        axes.text(share, place, "" if share else " all equal", va="center", fontsize=8, color="#5f5f5f")
    axes.set_xlim(0, max([*before, 0.5]) * 1.08)
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("% of values", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)

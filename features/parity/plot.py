"""The picture of a night's parity: which share of the values differs, by view and by day of serving."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from features.parity.causes import CAUSES
from features.parity.result import LATE, NOT_EXAMINED, ParityResult, ValueCounts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAULTS = ("#7a4fa3", "#e0b83c", "#d9822b", "#2f8f7f", "#c2609a", "#b5322d", "#5f5f5f")
SHADES = {LATE: "#9db8d3", **dict(zip((*CAUSES, NOT_EXAMINED), FAULTS, strict=True))}


def draw(parity: ParityResult, path: Path) -> None:
    """Draw which share of the values was another one: by view, and by day of serving."""
    from matplotlib.figure import Figure

    views = _by_view(parity)
    figure = Figure(figsize=(10, 1.8 + 0.32 * max(len(views), 4)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    total = parity.total
    wrong, judged = total.mismatches.total(), f"{total.sampled:,} values in {parity.judged:,} rows"
    figure.suptitle(f"Parity by night {parity.night}: {wrong:,} mismatches, {total.late:,} late, {judged}", fontsize=11)
    shown = [LATE, *(cause for cause in (*CAUSES, NOT_EXAMINED) if total.mismatches[cause])]
    _bars(left, views, shown, "by view")
    left.invert_yaxis()
    _bars(right, {f"{day:%d %b}": counts for day, counts in sorted(parity.days.items())}, shown, "by day of serving")
    right.invert_yaxis()
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _by_view(parity: ParityResult) -> dict[str, ValueCounts]:
    views: dict[str, ValueCounts] = {}
    for (view, _feature), counts in sorted(parity.counts.items()):
        views.setdefault(view, ValueCounts()).add(counts)
    return views


def _bars(axes: "Axes", counts: Mapping[str, ValueCounts], shown: Sequence[str], title: str) -> None:
    """Draw a bar for each tally: what of its values is late, and what is wrong for which cause."""
    names = [f"{name} ({counts.sampled:,})" for name, counts in counts.items()]
    before = [0.0] * len(names)
    for cause in shown:
        counted = [counts.late if cause == LATE else counts.mismatches[cause] for counts in counts.values()]
        shares = [100 * count / counts.sampled for count, counts in zip(counted, counts.values(), strict=True)]
        axes.barh(names, shares, left=before, color=SHADES[cause], label=cause, height=0.65)
        before = [one + other for one, other in zip(before, shares, strict=True)]
    for place, share in enumerate(before):
        axes.text(share, place, "" if share else " all equal", va="center", fontsize=8, color="#5f5f5f")
    axes.set_xlim(0, max([*before, 0.5]) * 1.08)
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("% of values", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)

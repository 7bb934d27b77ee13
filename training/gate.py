"""The gate: a model serves only if it beats its baseline, and the incumbent, on a later slice beyond the interval.

Every decision has a sentence that says why, the refusals too (law 4).
"""

from dataclasses import dataclass
from typing import Literal

from training.evaluation.evaluate import Evaluation
from training.evaluation.intervals import Interval


@dataclass(frozen=True)
class Decision:
    """What becomes of a new version."""

    alias: Literal["champion", "challenger"]
    reason: str

    @property
    def passed(self) -> bool:
        """Whether the version is to serve."""
        return self.alias == "champion"


def judge(found: Evaluation) -> Decision:
    """Decide about a version.

    It must not say the same of everybody; the interval of its paired difference from every baseline must lie above
    zero; and against an incumbent, that interval must not lie below zero.
    """
    if found.constant:
        return _refused("the model says the same of everybody")
    for name, draws in found.baselines.items():
        gain = (found.model - draws).interval()
        if not gain.low > 0:
            return _refused(
                f"{found.metric} {found.model.interval()} does not beat the baseline {name} "
                f"({draws.value:.4f}) on {found.rows} later rows: {_difference(gain)}"
            )
    if found.incumbent is not None:
        change = (found.model - found.incumbent).interval()
        if change.high < 0:
            return _refused(
                f"{found.metric} {found.model.value:.4f} is worse than the incumbent's {found.incumbent.value:.4f} "
                f"on {found.rows} later rows: {_difference(change)}"
            )
    name, best = found.best_baseline
    gain = (found.model - best).interval()
    also = "" if found.incumbent is None else f", and is not worse than the incumbent ({found.incumbent.value:.4f})"
    return Decision(
        "champion",
        f"Champion: {found.metric} {found.model.interval()} beats the best baseline, {name} "
        f"({best.value:.4f}), on {found.rows} later rows: {_difference(gain)}{also}.",
    )


def _difference(gain: Interval) -> str:
    return f"difference {gain.value:+.4f}, 95 % interval [{gain.low:+.4f}, {gain.high:+.4f}]"


def _refused(why: str) -> Decision:
    return Decision("challenger", f"No promotion: {why}.")

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


def judge(evaluation: Evaluation) -> Decision:
    """Decide about a version.

    It must not be constant; the interval of its paired difference from every baseline must lie above zero; and against
    an incumbent, that interval must not lie below zero.
    """
    if evaluation.constant:
        return _refused("the model is constant: every row gets the same score or action")
    metric, model, rows = evaluation.metric, evaluation.model, f"on {evaluation.rows} later rows"
    for name, baseline in evaluation.baselines.items():
        gain = (model - baseline).interval()
        # Also refused where the interval is not a number: too few rows of one outcome prove nothing.
        if not gain.low > 0:
            return _refused(
                f"{metric} {model.interval()} does not beat the baseline {name} "
                f"({baseline.value:.4f}) {rows}: {_difference(gain)}"
            )
    also = ""
    if evaluation.incumbent is not None:
        champion = evaluation.incumbent.value
        change = (model - evaluation.incumbent).interval()
        if change.high < 0:
            return _refused(
                f"{metric} {model.value:.4f} is worse than the incumbent's {champion:.4f} {rows}: {_difference(change)}"
            )
        also = f", and is not worse than the incumbent ({champion:.4f})"
    name, best = evaluation.best_baseline
    return Decision(
        "champion",
        f"Champion: {metric} {model.interval()} beats the best baseline, {name} ({best.value:.4f}), "
        f"{rows}: {_difference((model - best).interval())}{also}.",
    )


def _difference(gain: Interval) -> str:
    return f"difference {gain.value:+.4f}, 95 % interval [{gain.low:+.4f}, {gain.high:+.4f}]"


def _refused(why: str) -> Decision:
    return Decision("challenger", f"No promotion: {why}.")

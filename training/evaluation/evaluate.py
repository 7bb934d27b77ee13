"""How good a model is on the later slice: metrics with intervals beside simple baselines on the same rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infra.models.arrays import Floats
from infra.models.calibration import Calibration, log_odds
from training.evaluation.intervals import Draws, Interval, Statistic, bootstrap
from training.evaluation.metrics import METRICS, Metric, auc
from training.evaluation.policy_value import DecisionLog, effective_sample_size, importance_weights, value_draws
from training.recipes.learner import SEED, Slice


@dataclass(frozen=True)
class Evaluation:
    """What the gate decides by.

    Attributes
    ----------
    metric
        The figure by which models are compared; greater is better.
    model
        Its draws for the model.
    baselines
        Its draws for each baseline, on the same rows and draws.
    values
        Every figure with its interval.
    constant
        Whether the model says the same of everybody.
    rows
        Rows of the test slice.
    incumbent
        The draws of the champion on the same rows, if there is one that still can be asked.
    """

    metric: str
    model: Draws
    baselines: Mapping[str, Draws]
    values: Mapping[str, Interval]
    constant: bool
    rows: int
    incumbent: Draws | None = None

    @property
    def best_baseline(self) -> tuple[str, Draws]:
        """Name and draws of the strongest baseline."""
        return max(self.baselines.items(), key=lambda item: item[1].value)


def evaluate_scores(
    test: Slice, scores: Floats, baselines: Mapping[str, Floats], incumbent: Floats | None = None
) -> Evaluation:
    """Evaluate probabilities on the later slice.

    Parameters
    ----------
    scores
        Of the model; shape (rows,).
    baselines
        Name = scores of a baseline on the same rows.
    incumbent
        Scores of the champion on the same rows.
    """
    statistics: dict[str, Statistic] = {name: _of(metric, test.y, scores) for name, metric in METRICS.items()}
    statistics |= {f"baseline_{name}": _of(auc, test.y, p) for name, p in baselines.items()}
    if incumbent is not None:
        statistics["incumbent"] = _of(auc, test.y, incumbent)
    draws = bootstrap(statistics, test.who, seed=SEED)
    return Evaluation(
        "auc",
        draws["auc"],
        {name: draws[f"baseline_{name}"] for name in baselines},
        {name: found.interval() for name, found in draws.items()},
        bool(np.ptp(scores) < 1e-9),
        len(test),
        draws.get("incumbent"),
    )


def _of(metric: Metric, y: Floats, p: Floats) -> Statistic:
    return lambda times: metric(y, p, times)


def evaluate_policy(
    test: Slice, choice: npt.NDArray[np.str_], always: str, incumbent: npt.NDArray[np.str_] | None = None
) -> Evaluation:
    """Value a policy off-policy on the later slice, beside the logging policy.

    Parameters
    ----------
    choice
        What the policy would have done; shape (rows,).
    always
        The action that earned most in the training slice: the value of always taking it is stated as well.
    incumbent
        What the champion would have done.
    """
    log = DecisionLog(test.action, test.propensity, test.y, test.who)
    policies = {"policy": choice, "always": np.full(len(test), always)}
    if incumbent is not None:
        policies["incumbent"] = incumbent
    chances = {name: (chosen == test.action).astype(float) for name, chosen in policies.items()}
    draws = value_draws(chances, log, seed=SEED)
    size = effective_sample_size(importance_weights(chances["policy"], log))
    names = {"policy.snips": "snips", "policy.ips": "ips", "logging": "logging", "always.snips": "always_one_action"}
    return Evaluation(
        "snips",
        draws["policy.snips"],
        {"logging": draws["logging"], f"always {always}": draws["always.snips"]},
        {name: draws[key].interval() for key, name in names.items()}
        | {"effective_sample_size": Interval(size, size, size)},
        len(np.unique(choice)) < 2,
        len(test),
        draws.get("incumbent.snips"),
    )


def calibration_line(scores: Floats, y: Floats) -> Calibration:
    """Return slope and intercept of the outcome on the log odds: 1 and 0 for a perfectly calibrated model."""
    return Calibration.fit(scores, y) if np.ptp(log_odds(scores)) > 0 else Calibration(0.0, 0.0)

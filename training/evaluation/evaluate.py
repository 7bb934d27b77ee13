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
from training.recipes.calibrate import fit_platt
from training.recipes.learner import SEED, Slice


@dataclass(frozen=True)
class Evaluation:
    """What the gate decides by.

    Attributes
    ----------
    metric
        The metric by which models are compared; greater is better.
    model
        Bootstrap draws of the metric for the model.
    baselines
        Its draws for each baseline, on the same rows and resamples, so that differences are paired.
    values
        Every metric with its interval.
    constant
        Whether the model gives every row the same score or action.
    rows
        Rows of the test slice.
    incumbent
        The draws of the champion on the same rows; None if there is none whose features are still built.
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
    statistics: dict[str, Statistic] = {name: _statistic(metric, test.y, scores) for name, metric in METRICS.items()}
    statistics |= {f"baseline_{name}": _statistic(auc, test.y, p) for name, p in baselines.items()}
    if incumbent is not None:
        statistics["incumbent"] = _statistic(auc, test.y, incumbent)
    draws = bootstrap(statistics, test.entity, seed=SEED)
    return Evaluation(
        "auc",
        draws["auc"],
        {name: draws[f"baseline_{name}"] for name in baselines},
        {name: draw.interval() for name, draw in draws.items()},
        bool(np.ptp(scores) < 1e-9),
        len(test),
        draws.get("incumbent"),
    )


def _statistic(metric: Metric, y: Floats, p: Floats) -> Statistic:
    return lambda counts: metric(y, p, counts)


def evaluate_policy(
    test: Slice, choice: npt.NDArray[np.str_], always: str, incumbent: npt.NDArray[np.str_] | None = None
) -> Evaluation:
    """Value a policy off-policy on the later slice, beside the logging policy.

    Parameters
    ----------
    choice
        What the policy would have done; shape (rows,).
    always
        The action that earned most in the training slice: always taking it is a baseline.
    incumbent
        What the champion would have done.
    """
    log = DecisionLog(test.action, test.propensity, test.y, test.entity)
    policies = {"policy": choice, "always": np.full(len(test), always)}
    if incumbent is not None:
        policies["incumbent"] = incumbent
    # A deterministic policy takes the logged action with probability 1 or 0.
    probabilities = {name: (chosen == test.action).astype(float) for name, chosen in policies.items()}
    draws = value_draws(probabilities, log, seed=SEED)
    size = effective_sample_size(importance_weights(probabilities["policy"], log))
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
    """Return slope and intercept of the outcome on the log odds: 1 and 0 for a perfectly calibrated model.

    Notes
    -----
    Cox, Two Further Applications of a Model for Binary Regression (1958).
    """
    return fit_platt(scores, y) if np.ptp(log_odds(scores)) > 0 else Calibration(a=0.0, b=0.0)

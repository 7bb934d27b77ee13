"""How good a model is on the later slice: metrics with intervals beside simple baselines on the same rows.

Comes after fitting; ``gates.py`` decides by what stands here, ``plots.py`` draws it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from training.intervals import Draws, Floats, Interval, Statistic, bootstrap
from training.model import CLIP, SEED, Calibration, Slice, log_odds
from training.policy_value import Log, effective_sample_size, importance, value_draws

Metric = Callable[[Floats, Floats, Floats], float]
BINS = 10
SIMPLE_FEATURES = 5


def auc(y: Floats, p: Floats, times: Floats) -> float:
    """Area under the ROC curve, ties counted half; ``times`` is how often each row counts. NaN with one class.

    Examples
    --------
    >>> auc(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.35, 0.8]), np.ones(4))
    0.75
    """
    _, place = np.unique(p, return_inverse=True)
    good = np.bincount(place, weights=y * times)
    bad = np.bincount(place, weights=(1 - y) * times)
    pairs = good.sum() * bad.sum()
    return float((good * (np.cumsum(bad) - bad / 2)).sum() / pairs) if pairs else float("nan")


def pr_auc(y: Floats, p: Floats, times: Floats) -> float:
    """Average precision: precision at each threshold, weighted by the recall it adds. NaN without a positive row.

    Examples
    --------
    >>> round(pr_auc(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.35, 0.8]), np.ones(4)), 4)
    0.8333
    """
    _, place = np.unique(-p, return_inverse=True)
    good, all_ = np.bincount(place, weights=y * times), np.bincount(place, weights=times)
    found, called = np.cumsum(good), np.cumsum(all_)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return float((good * precision).sum() / good.sum()) if good.sum() else float("nan")


def brier(y: Floats, p: Floats, times: Floats) -> float:
    """Mean squared difference of probability and outcome (Brier 1950)."""
    return float(np.average((p - y) ** 2, weights=times))


def log_loss(y: Floats, p: Floats, times: Floats) -> float:
    """Mean negative log likelihood, in nats."""
    kept = np.clip(p, CLIP, 1 - CLIP)
    return float(np.average(-(y * np.log(kept) + (1 - y) * np.log(1 - kept)), weights=times))


def ece(y: Floats, p: Floats, times: Floats) -> float:
    """Return the expected calibration error over ten bins of equal width (Naeini et al. 2015)."""
    place = np.minimum((p * BINS).astype(int), BINS - 1)
    gaps = np.bincount(place, weights=(p - y) * times, minlength=BINS)
    return float(np.abs(gaps).sum() / times.sum())


METRICS: Mapping[str, Metric] = MappingProxyType(
    {"auc": auc, "pr_auc": pr_auc, "brier": brier, "ece": ece, "log_loss": log_loss}
)


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


def simple_rule(train: Slice, test: Slice) -> Floats:
    """Score the test slice by a logistic regression on the five features that part the training slice best.

    Returns
    -------
    numpy.ndarray
        Probabilities; shape (test rows,). Missing values stand at the median.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer

    usable = [i for i in range(train.x.shape[1]) if not np.isnan(train.x[:, i]).all()]
    strength = {i: abs(auc(train.y, np.nan_to_num(train.x[:, i], nan=-1.0), np.ones(len(train))) - 0.5) for i in usable}
    best = sorted(usable, key=lambda i: -strength[i])[:SIMPLE_FEATURES]
    ranks = QuantileTransformer(n_quantiles=min(100, len(train)), output_distribution="normal", random_state=SEED)
    pipeline = make_pipeline(SimpleImputer(strategy="median"), ranks, LogisticRegression())
    fitted = pipeline.fit(train.x[:, best], train.y)
    return np.asarray(fitted.predict_proba(test.x[:, best])[:, 1], dtype=np.float64)


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
    log = Log(test.action, test.propensity, test.y, test.who)
    policies = {"policy": choice, "always": np.full(len(test), always)}
    if incumbent is not None:
        policies["incumbent"] = incumbent
    chances = {name: (chosen == test.action).astype(float) for name, chosen in policies.items()}
    draws = value_draws(chances, log, seed=SEED)
    size = effective_sample_size(importance(chances["policy"], log))
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


def best_action(train: Slice) -> str:
    """Return the action with the greatest self-normalised mean reward in a slice."""
    weights = 1 / train.propensity
    worth = {
        a: np.average(train.y[train.action == a], weights=weights[train.action == a]) for a in np.unique(train.action)
    }
    return str(max(worth, key=lambda a: worth[a]))


def calibration_of(scores: Floats, y: Floats) -> Calibration:
    """Return slope and intercept of the outcome on the log odds: 1 and 0 for a perfectly calibrated model."""
    return Calibration.fit(scores, y) if np.ptp(log_odds(scores)) > 0 else Calibration(0.0, 0.0)

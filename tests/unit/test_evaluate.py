"""Metrics against scikit-learn, also with rows that count more than once; intervals and gates by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from training.evaluation.evaluate import Evaluation
from training.evaluation.intervals import Draws, bootstrap
from training.evaluation.metrics import METRICS
from training.gate import judge
from training.recipes.calibrate import fit_platt

RNG = np.random.default_rng(3)
P = np.round(RNG.random(400), 2)
Y = (RNG.random(400) < P).astype(float)
COUNTS = RNG.integers(0, 3, 400).astype(float)
SCIKIT_LEARN = {
    "auc": roc_auc_score,
    "pr_auc": average_precision_score,
    "brier": brier_score_loss,
    "log_loss": log_loss,
}


@pytest.mark.parametrize("counts", [np.ones(400), COUNTS], ids=["once", "resampled"])
@pytest.mark.parametrize("name", sorted(SCIKIT_LEARN))
def test_metrics_equal_those_of_scikit_learn(name: str, counts: np.ndarray) -> None:
    p = np.clip(P, 1e-7, 1 - 1e-7)
    assert METRICS[name](Y, p, counts) == pytest.approx(SCIKIT_LEARN[name](Y, p, sample_weight=counts), rel=1e-6)


def test_calibration_error_by_hand() -> None:
    y, p = np.array([0.0, 1.0, 1.0, 1.0]), np.array([0.11, 0.19, 0.9, 0.9])
    assert METRICS["ece"](y, p, np.ones(4)) == pytest.approx((2 * abs(0.5 - 0.15) + 2 * 0.1) / 4)


def test_metrics_of_one_class_are_not_a_number() -> None:
    assert np.isnan(METRICS["auc"](np.ones(3), P[:3], np.ones(3)))
    assert np.isnan(METRICS["pr_auc"](np.zeros(3), P[:3], np.ones(3)))


def test_platt_scaling_corrects_overconfidence() -> None:
    odds = RNG.normal(0, 2, 5000)
    y = (RNG.random(5000) < 1 / (1 + np.exp(-odds))).astype(float)
    fitted = fit_platt(1 / (1 + np.exp(-2 * odds)), y)
    assert fitted.a == pytest.approx(0.5, abs=0.05)
    assert fitted.b == pytest.approx(0.0, abs=0.1)


def test_rows_that_depend_on_each_other_make_the_interval_wider() -> None:
    values = np.repeat(RNG.normal(size=100), 10)
    mean = {"mean": lambda counts: float(np.average(values, weights=counts))}
    by_row = bootstrap(mean, np.arange(1000), seed=1)["mean"].interval()
    by_customer = bootstrap(mean, np.repeat(np.arange(100), 10), seed=1)["mean"].interval()
    assert by_customer.high - by_customer.low > 2 * (by_row.high - by_row.low)
    assert by_customer.low < values.mean() < by_customer.high


def test_the_bootstrap_is_seeded() -> None:
    mean = {"mean": lambda counts: float(np.average(P, weights=counts))}
    first, second = (bootstrap(mean, np.arange(400), seed=5)["mean"].draws for _ in range(2))
    np.testing.assert_array_equal(first, second)


def evaluated(gain: float, *, constant: bool = False, incumbent: float | None = None) -> Evaluation:
    noise = np.linspace(-0.01, 0.01, 101)
    model = Draws(0.7 + gain, 0.7 + gain + noise)
    champion = None if incumbent is None else Draws(incumbent, np.full(101, incumbent))
    return Evaluation("auc", model, {"rule": Draws(0.7, np.full(101, 0.7))}, {}, constant, 500, champion)


@pytest.mark.parametrize(
    ("evaluation", "alias", "reason"),
    [
        (evaluated(0.02), "champion", "beats the best baseline, rule"),
        (evaluated(0.005), "challenger", "does not beat the baseline rule"),
        (evaluated(0.02, constant=True), "challenger", "the model is constant"),
        (evaluated(0.02, incumbent=0.8), "challenger", "worse than the incumbent"),
        (evaluated(0.02, incumbent=0.719), "champion", "not worse than the incumbent"),
    ],
)
def test_the_gate(evaluation: Evaluation, alias: str, reason: str) -> None:
    decision = judge(evaluation)
    assert decision.alias == alias
    assert reason in decision.reason

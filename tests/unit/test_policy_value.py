"""Off-policy value: the formulas by hand, and intervals that cover a known truth."""

import numpy as np
import pytest

from rapport_feast.errors import Rejected
from training.evaluation.policy_value import (
    DecisionLog,
    effective_sample_size,
    importance_weights,
    ips,
    policy_value,
    snips,
)

ACTIONS = np.array(["a", "b", "c"])
MEAN = np.array([[0.2, 0.5, 0.6], [0.7, 0.3, 0.1]])
SEEDS = range(50)


def synthetic(seed: int, customers: int = 400, each: int = 3) -> tuple[DecisionLog, np.ndarray]:
    """Return a log of customers of two kinds, and the kind of each decision."""
    rng = np.random.default_rng(seed)
    customer = np.repeat(np.arange(customers), each)
    kind = np.repeat(rng.integers(0, 2, customers), each)
    odds = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])[kind]
    choice = (odds.cumsum(axis=1) < rng.random(len(customer))[:, None]).sum(axis=1)
    reward = MEAN[kind, choice] + np.repeat(rng.normal(0, 0.1, customers), each) + rng.normal(0, 0.2, len(customer))
    return DecisionLog(ACTIONS[choice], odds[np.arange(len(customer)), choice], reward, customer.astype(str)), kind


def probability_of_logged(log: DecisionLog, kind: np.ndarray) -> np.ndarray:
    return np.asarray((ACTIONS[MEAN.argmax(axis=1)][kind] == log.action).astype(float))


def test_the_formulas_by_hand() -> None:
    who = np.array(["x", "y", "z"])
    log = DecisionLog(ACTIONS[[0, 1, 1]], np.array([0.5, 0.25, 0.5]), np.array([1.0, 0.5, 0.0]), who)
    w = importance_weights(np.array([1.0, 1.0, 0.0]), log)
    np.testing.assert_allclose(w, [2.0, 4.0, 0.0])
    assert ips(w, log.reward, np.ones(3)) == pytest.approx((2 * 1 + 4 * 0.5) / 3)
    assert snips(w, log.reward, np.ones(3)) == pytest.approx((2 * 1 + 4 * 0.5) / 6)
    assert ips(w, log.reward, np.array([2.0, 0.0, 1.0])) == pytest.approx(4 / 3)
    assert effective_sample_size(w) == pytest.approx(36 / 20)


def test_the_logging_policy_values_itself() -> None:
    log, _ = synthetic(0)
    value = policy_value(log.propensity, log)
    assert value.ips.value == pytest.approx(value.logging.value)
    assert value.snips.value == pytest.approx(value.logging.value)
    assert value.effective_sample_size == pytest.approx(len(log.reward))


@pytest.mark.parametrize("estimator", ["ips", "snips"])
def test_intervals_cover_the_truth(estimator: str) -> None:
    truth = MEAN.max(axis=1).mean()
    covered = 0
    for seed in SEEDS:
        log, kind = synthetic(seed)
        interval = getattr(policy_value(probability_of_logged(log, kind), log, seed=seed), estimator)
        covered += interval.low <= truth <= interval.high
    assert covered >= 0.9 * len(SEEDS)


def test_a_propensity_of_zero_is_refused() -> None:
    with pytest.raises(Rejected, match="propensity"):
        DecisionLog(ACTIONS[:1], np.array([0.0]), np.array([1.0]), np.array(["x"]))

"""What a policy would have earned, from the log of another one: importance sampling with logged propensities.

Comes after a policy has chosen; ``gate.py`` compares its value with that of the logging policy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infra.models.arrays import Floats
from rapport_feast.errors import Rejected
from training.evaluation.intervals import Draws, Interval, bootstrap


@dataclass(frozen=True)
class DecisionLog:
    """Decisions of the logging policy; every array has shape (decisions,).

    Attributes
    ----------
    action, propensity
        What was chosen, and with which probability.
    reward
        What came of it.
    entity
        The customer: decisions about one are not independent.
    """

    action: npt.NDArray[np.str_]
    propensity: Floats
    reward: Floats
    entity: npt.NDArray[np.str_]

    def __post_init__(self) -> None:
        if not ((self.propensity > 0) & (self.propensity <= 1)).all():
            raise Rejected("propensity", "a probability above 0 and at most 1", "another number")


@dataclass(frozen=True)
class PolicyValue:
    """The value of a policy by both estimators, beside that of the logging policy on the same decisions."""

    ips: Interval
    snips: Interval
    logging: Interval
    effective_sample_size: float


def importance_weights(probability: Floats, log: DecisionLog) -> Floats:
    """Return how much more likely than the logging policy a policy takes the logged action: ``w_i = pi(a_i|x_i)/p_i``.

    Parameters
    ----------
    probability
        Of the logged action under the policy; shape (decisions,).
    """
    return np.asarray(probability / log.propensity, dtype=np.float64)


def ips(weights: Floats, rewards: Floats, counts: Floats) -> float:
    """Inverse propensity score: ``V = sum_i(m_i w_i r_i) / sum_i(m_i)``, m how often a row counts.

    Unbiased where every action the policy takes has a propensity above 0.

    Notes
    -----
    Horvitz and Thompson, A Generalization of Sampling Without Replacement (1952); Strehl, Langford, Li and Kakade,
    Learning from Logged Implicit Exploration Data (2010).

    Examples
    --------
    >>> ips(np.array([2.0, 0.0]), np.array([0.5, 1.0]), np.ones(2))
    0.5
    """
    return float((counts * weights * rewards).sum() / counts.sum())


def snips(weights: Floats, rewards: Floats, counts: Floats) -> float:
    """Self-normalised: ``V = sum_i(m_i w_i r_i) / sum_i(m_i w_i)``; a little biased, of much smaller variance.

    Notes
    -----
    Swaminathan and Joachims, The Self-Normalized Estimator for Counterfactual Learning (NIPS 2015).

    Examples
    --------
    >>> snips(np.array([3.0, 0.0]), np.array([0.5, 1.0]), np.ones(2))
    0.5
    """
    total = float((counts * weights).sum())
    return float((counts * weights * rewards).sum() / total) if total > 0 else float("nan")


def effective_sample_size(weights: Floats) -> float:
    """Return ``(sum w)^2 / sum w^2``: how many decisions of its own the log is worth to the policy.

    Notes
    -----
    Kish, Survey Sampling (1965).

    Examples
    --------
    >>> effective_sample_size(np.array([2.0, 2.0, 0.0, 0.0]))
    2.0
    """
    squares = float((weights**2).sum())
    return float(weights.sum() ** 2 / squares) if squares > 0 else 0.0


def value_draws(policies: Mapping[str, Floats], log: DecisionLog, *, seed: int) -> dict[str, Draws]:
    """Value policies on the same resamples of customers.

    Parameters
    ----------
    policies
        Name = probability of the logged action under the policy; shape (decisions,).

    Returns
    -------
    dict
        ``<name>.ips`` and ``<name>.snips`` of each policy, and ``logging``: the mean reward that was logged.
    """
    weights = {name: importance_weights(probability, log) for name, probability in policies.items()}
    statistics = {"logging": lambda counts: float(np.average(log.reward, weights=counts))}
    for name, w in weights.items():
        statistics[f"{name}.ips"] = lambda counts, w=w: ips(w, log.reward, counts)  # type: ignore[misc]
        statistics[f"{name}.snips"] = lambda counts, w=w: snips(w, log.reward, counts)  # type: ignore[misc]
    return bootstrap(statistics, log.entity, seed=seed)


def policy_value(probability: Floats, log: DecisionLog, *, seed: int = 0) -> PolicyValue:
    """Return the value of one policy with intervals, and how many decisions it rests on."""
    draws = value_draws({"policy": probability}, log, seed=seed)
    return PolicyValue(
        draws["policy.ips"].interval(),
        draws["policy.snips"].interval(),
        draws["logging"].interval(),
        effective_sample_size(importance_weights(probability, log)),
    )

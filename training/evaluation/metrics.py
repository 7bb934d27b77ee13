"""Metrics of probabilities, each of rows with counts, so that the bootstrap can draw rows again without copying them.

In every metric ``y`` are labels, ``p`` probabilities and ``counts`` how often each row counts; all of shape (rows,).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from infra.models.arrays import Floats
from infra.models.calibration import CLIP

Metric = Callable[[Floats, Floats, Floats], float]
BINS = 10


def auc(y: Floats, p: Floats, counts: Floats) -> float:
    """Area under the ROC curve, ties counted half; NaN with one class.

    Notes
    -----
    As the Mann-Whitney statistic: Hanley and McNeil, The Meaning and Use of the Area under a ROC Curve (1982).

    Examples
    --------
    >>> auc(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.35, 0.8]), np.ones(4))
    0.75
    """
    _, rank = np.unique(p, return_inverse=True)
    positives = np.bincount(rank, weights=y * counts)
    negatives = np.bincount(rank, weights=(1 - y) * counts)
    pairs = positives.sum() * negatives.sum()
    return float((positives * (np.cumsum(negatives) - negatives / 2)).sum() / pairs) if pairs else float("nan")


def pr_auc(y: Floats, p: Floats, counts: Floats) -> float:
    """Average precision: precision at each threshold, weighted by the recall it adds; NaN without a positive row.

    Notes
    -----
    The step-wise sum, not the trapezoid: Davis and Goadrich, The Relationship Between Precision-Recall and ROC Curves
    (2006).

    Examples
    --------
    >>> round(pr_auc(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.35, 0.8]), np.ones(4)), 4)
    0.8333
    """
    _, rank = np.unique(-p, return_inverse=True)
    positives, rows = np.bincount(rank, weights=y * counts), np.bincount(rank, weights=counts)
    true_positives, predicted = np.cumsum(positives), np.cumsum(rows)
    precision = np.divide(true_positives, predicted, out=np.zeros_like(true_positives), where=predicted > 0)
    return float((positives * precision).sum() / positives.sum()) if positives.sum() else float("nan")


def brier(y: Floats, p: Floats, counts: Floats) -> float:
    """Mean squared difference of probability and outcome.

    Notes
    -----
    Brier, Verification of Forecasts Expressed in Terms of Probability (1950).
    """
    return float(np.average((p - y) ** 2, weights=counts))


def log_loss(y: Floats, p: Floats, counts: Floats) -> float:
    """Mean negative log likelihood, in nats; probabilities of 0 and 1 are clipped."""
    clipped = np.clip(p, CLIP, 1 - CLIP)
    return float(np.average(-(y * np.log(clipped) + (1 - y) * np.log(1 - clipped)), weights=counts))


def ece(y: Floats, p: Floats, counts: Floats) -> float:
    """Return the expected calibration error over ten bins of equal width.

    Notes
    -----
    ``sum_b(n_b / n * |mean p in b - mean y in b|)``: Naeini, Cooper and Hauskrecht, Obtaining Well Calibrated
    Probabilities Using Bayesian Binning (2015).

    Examples
    --------
    >>> round(ece(np.array([0.0, 1.0]), np.array([0.12, 0.12]), np.ones(2)), 4)
    0.38
    """
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights=(p - y) * counts, minlength=BINS)
    return float(np.abs(gaps).sum() / counts.sum())


METRICS: Mapping[str, Metric] = MappingProxyType(
    {"auc": auc, "pr_auc": pr_auc, "brier": brier, "ece": ece, "log_loss": log_loss}
)

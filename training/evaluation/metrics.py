"""Metrics of probabilities, each of weighted rows so that the bootstrap can draw them again."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from infra.models.arrays import Floats
from infra.models.calibration import CLIP

Metric = Callable[[Floats, Floats, Floats], float]
BINS = 10


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

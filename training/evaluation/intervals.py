"""Intervals by the cluster bootstrap: rows of one customer or ticket are drawn together, being dependent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.models.arrays import Floats

Statistic = Callable[[Floats], float]
REPLICATES = 300
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Draws:
    """An estimate and its value on every resample of the bootstrap; shape (replicates,)."""

    value: float
    draws: Floats

    def interval(self, level: float = CONFIDENCE) -> Interval:
        """Return the percentile interval; resamples on which the statistic is not defined are left out."""
        low, high = np.nanquantile(self.draws, [(1 - level) / 2, (1 + level) / 2])
        return Interval(self.value, float(low), float(high))

    def __sub__(self, other: "Draws") -> "Draws":
        """Return the paired difference: both were computed on the same resamples."""
        return Draws(self.value - other.value, self.draws - other.draws)


def bootstrap(
    statistics: Mapping[str, Statistic], clusters: npt.NDArray[Any], *, seed: int, replicates: int = REPLICATES
) -> dict[str, Draws]:
    """Compute statistics on the rows and on resamples of whole clusters, drawn with replacement.

    Parameters
    ----------
    statistics
        Name = function of how often each row counts; shape (rows,).
    clusters
        Whom each row is about; shape (rows,).
    seed, replicates
        Of the resamples; every statistic sees the same ones, so that differences are paired.

    Notes
    -----
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13; whole clusters: Davison and
    Hinkley, Bootstrap Methods and their Application (1997), 3.8, and Field and Welsh, Bootstrapping Clustered Data
    (2007).
    """
    _, cluster_of = np.unique(clusters, return_inverse=True)
    clusters_in_all = int(cluster_of.max()) + 1
    rng = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {name: [] for name in statistics}
    for _ in range(replicates):
        drawn = rng.integers(0, clusters_in_all, clusters_in_all)
        counts = np.bincount(drawn, minlength=clusters_in_all).astype(float)[cluster_of]
        for name, statistic in statistics.items():
            draws[name].append(statistic(counts))
    once = np.ones(len(cluster_of))
    return {name: Draws(statistic(once), np.array(draws[name])) for name, statistic in statistics.items()}

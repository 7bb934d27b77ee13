"""Intervals by the cluster bootstrap: rows of one customer or ticket are drawn together, being dependent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.models.arrays import Floats

Statistic = Callable[[Floats], float]
ROUNDS = 300
LEVEL = 0.95


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
    """An estimate and what it was in each round of the bootstrap; shape (rounds,)."""

    value: float
    draws: Floats

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the percentile interval."""
        low, high = np.nanquantile(self.draws, [(1 - level) / 2, (1 + level) / 2])
        return Interval(self.value, float(low), float(high))

    def __sub__(self, other: "Draws") -> "Draws":
        """Return the paired difference: both were computed on the same draws."""
        return Draws(self.value - other.value, self.draws - other.draws)


def bootstrap(
    statistics: Mapping[str, Statistic], clusters: npt.NDArray[Any], *, seed: int, rounds: int = ROUNDS
) -> dict[str, Draws]:
    """Compute statistics on the rows and on samples of whole clusters, drawn with replacement.

    Parameters
    ----------
    statistics
        Name = function of how often each row counts; shape (rows,).
    clusters
        Who each row is about; shape (rows,).
    seed, rounds
        Of the draws; every statistic sees the same ones, so that differences are paired.

    Notes
    -----
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13; clusters as in Davison and
    Hinkley (1997), 3.8.
    """
    _, members = np.unique(clusters, return_inverse=True)
    count = int(members.max()) + 1
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in statistics}
    for _ in range(rounds):
        weights = np.bincount(rng.integers(0, count, count), minlength=count).astype(float)[members]
        for name, statistic in statistics.items():
            found[name].append(statistic(weights))
    whole = np.ones(len(members))
    return {name: Draws(statistic(whole), np.array(found[name])) for name, statistic in statistics.items()}

"""Two samples of a column: how far their distributions lie apart, and which differences stand Holm's correction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

Kind = Literal["feature", "score", "label"]
FLOOR = 0.1
"""Smallest difference of distribution functions (or of shares) that counts; half a standard deviation makes 0.2."""


FEW_VALUES = 2


@dataclass(frozen=True)
class ColumnDrift:
    """What was found of one column: its p-value, how far the distributions lie apart, how far they had to."""

    column: str
    kind: Kind
    test: str
    p_value: float
    effect: float
    floor: float


def holm(found: Sequence[ColumnDrift], alpha: float) -> list[ColumnDrift]:
    """Return the columns whose p-values stand Holm's step-down correction (Holm 1979), strongest first."""
    kept = []
    for i, one in enumerate(sorted(found, key=lambda f: f.p_value)):
        if one.p_value > alpha / (len(found) - i):
            break
        kept.append(one)
    return kept


def is_number(old: pd.Series, new: pd.Series) -> bool:
    """Whether a column is compared by its order: a number with more than two values."""
    return (
        pd.api.types.is_numeric_dtype(old)
        and len(np.union1d(old.dropna().unique(), new.dropna().unique())) > FEW_VALUES
    )


def distance(old: pd.Series, new: pd.Series, number: bool) -> float:
    if number:
        return ks_distance(old.dropna().to_numpy("float64"), new.dropna().to_numpy("float64"))
    shares = pd.concat([old.value_counts(normalize=True), new.value_counts(normalize=True)], axis=1).fillna(0.0)
    return float((shares.iloc[:, 0] - shares.iloc[:, 1]).abs().sum() / 2)


def ks_distance(old: npt.NDArray[np.float64], new: npt.NDArray[np.float64]) -> float:
    """Return the greatest difference of two empirical distribution functions.

    Examples
    --------
    >>> ks_distance(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.5
    """
    points = np.concatenate([old, new])
    ends = [np.searchsorted(np.sort(part), points, side="right") / len(part) for part in (old, new)]
    return float(np.abs(ends[0] - ends[1]).max())

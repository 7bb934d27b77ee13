"""Calibration: from what a model says to a probability."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from infra.models.arrays import Floats

CLIP = 1e-7


@dataclass(frozen=True)
class Calibration:
    """Platt scaling on the log odds (Platt 1999): ``sigmoid(a * logit(p) + b)``."""

    a: float
    b: float

    @classmethod
    def fit(cls, raw: Floats, y: Floats) -> Self:
        """Fit on rows that the model has not seen.

        Parameters
        ----------
        raw, y
            Raw probabilities and labels; shape (rows,).
        """
        from sklearn.linear_model import LogisticRegression

        fitted = LogisticRegression(C=1e6).fit(log_odds(raw)[:, None], y)
        return cls(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))

    def apply(self, raw: Floats) -> Floats:
        """Return calibrated probabilities."""
        return np.asarray(1 / (1 + np.exp(-(self.a * log_odds(raw) + self.b))), dtype=np.float64)


def log_odds(p: Floats) -> Floats:
    """Return ``log(p / (1 - p))``, kept finite."""
    kept = np.clip(p, CLIP, 1 - CLIP)
    return np.asarray(np.log(kept / (1 - kept)), dtype=np.float64)

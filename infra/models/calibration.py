"""Calibration: from the raw score of a model to a probability."""

import numpy as np
from pydantic import BaseModel, ConfigDict

from infra.models.arrays import Floats

CLIP = 1e-7
"""How far probabilities stay from 0 and 1, so that log odds and log loss are finite."""


class Calibration(BaseModel):
    """Platt scaling on the log odds: ``p' = 1 / (1 + exp(-(a * logit(p) + b)))``.

    Attributes
    ----------
    a, b
        Slope and intercept; 1 and 0 change nothing.

    Notes
    -----
    Platt, Probabilistic Outputs for Support Vector Machines (1999); of log odds instead of raw margins, so that one
    form fits every learner that gives probabilities.

    Examples
    --------
    >>> Calibration(a=1.0, b=0.0).apply(np.array([0.2, 0.9])).round(4).tolist()
    [0.2, 0.9]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    a: float
    b: float

    def apply(self, raw: Floats) -> Floats:
        """Return calibrated probabilities; shape (rows,) as ``raw``."""
        return np.asarray(1 / (1 + np.exp(-(self.a * log_odds(raw) + self.b))), dtype=np.float64)


def log_odds(p: Floats) -> Floats:
    """Return ``log(p / (1 - p))``, kept finite.

    Examples
    --------
    >>> log_odds(np.array([0.5, 1.0])).round(2).tolist()
    [0.0, 16.12]
    """
    clipped = np.clip(p, CLIP, 1 - CLIP)
    return np.asarray(np.log(clipped / (1 - clipped)), dtype=np.float64)

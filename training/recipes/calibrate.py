"""Fitting a calibration on rows that the model has not seen."""

import numpy as np

from infra.models.arrays import Floats
from infra.models.calibration import Calibration, log_odds


def fit_platt(raw: Floats, y: Floats) -> Calibration:
    """Fit slope and intercept of the outcome on the log odds by logistic regression, all but unregularised.

    Parameters
    ----------
    raw, y
        Raw probabilities and labels; shape (rows,).

    Notes
    -----
    Platt, Probabilistic Outputs for Support Vector Machines (1999). The same two numbers, fitted on the test slice,
    say how well a model is calibrated (Cox, Two Further Applications of a Model for Binary Regression, 1958).
    """
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e6).fit(log_odds(raw)[:, None], y)
    return Calibration(a=float(fitted.coef_[0, 0]), b=float(fitted.intercept_[0]))


def calibrate(raw: Floats, y: Floats) -> Calibration | None:
    """Fit a calibration where it can only scale: none without both classes or where it would reverse the order."""
    if len(np.unique(y)) < 2:
        return None
    fitted = fit_platt(raw, y)
    return fitted if fitted.a > 0 else None

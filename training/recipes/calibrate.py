"""Fitting a calibration on rows that the model has not seen."""

import numpy as np

from infra.models.arrays import Floats
from infra.models.calibration import Calibration


def calibrate(raw: Floats, y: Floats) -> Calibration | None:
    """Fit a calibration where it can only scale: none without both classes or where it would turn the order around."""
    if len(np.unique(y)) < 2:
        return None
    found = Calibration.fit(raw, y)
    return found if found.a > 0 else None

"""Churn: gradient-boosted trees by XGBoost, saved as UBJ."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import xgboost

from infra.models.arrays import Floats
from infra.models.calibration import Calibration
from infra.models.manifest import Kind
from infra.models.predictors import xgboost_predictor
from training.recipes.calibrate import calibrate
from training.recipes.learner import SEED, Slice

FILE = "model.ubj"


class Churn:
    """Boosted trees with the histogram method: few, shallow and regularised, since customers repeat in the rows."""

    kind: ClassVar[Kind] = "xgboost"
    params: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "objective": "binary:logistic",
            "tree_method": "hist",
            "max_depth": 3,
            "eta": 0.05,
            "min_child_weight": 20,
            "subsample": 0.8,
            "colsample_bytree": 0.7,
            "lambda": 5.0,
            "nthread": 2,
            "seed": SEED,
            "verbosity": 0,
        }
    )
    actions: tuple[str, ...] = ()
    rounds: ClassVar[int] = 160

    def __init__(self) -> None:
        self._booster = xgboost.Booster()
        self.calibration: Calibration | None = None

    def fit(self, train: Slice, calibration: Slice) -> Self:
        """Learn from a slice; scale on the calibration slice."""
        self._booster = xgboost.train(dict(self.params), xgboost.DMatrix(train.x, train.y), self.rounds)
        self.calibration = calibrate(self._raw(calibration.x), calibration.y) if len(calibration) else None
        return self

    def predict(self, x: Floats) -> Floats:
        """Return calibrated probabilities; shape (rows,)."""
        raw = self._raw(x)
        return self.calibration.apply(raw) if self.calibration else raw

    def importance(self) -> Floats:
        """Return the total gain of each feature; shape (features,)."""
        gains = self._booster.get_score(importance_type="total_gain")
        return np.array([float(np.sum(gains.get(f"f{i}", 0.0))) for i in range(self._booster.num_features())])

    def save(self, folder: Path) -> tuple[str, ...]:
        """Write ``model.ubj``."""
        self._booster.save_model(folder / FILE)
        return (FILE,)

    def native(self) -> xgboost.Booster:
        """Return the booster."""
        return self._booster

    def _raw(self, x: Floats) -> Floats:
        return xgboost_predictor(self._booster)(x)


RECIPE = Churn

"""Escalation: gradient-boosted trees by LightGBM, saved as text."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import lightgbm
import numpy as np

from infra.models.arrays import Floats
from infra.models.calibration import Calibration
from infra.models.manifest import Kind
from infra.models.predictors import lightgbm_predictor
from training.recipes.calibrate import calibrate
from training.recipes.learner import SEED, Slice

FILE = "model.txt"
DETERMINISTIC: Mapping[str, Any] = MappingProxyType(
    {"deterministic": True, "force_row_wise": True, "num_threads": 2, "seed": SEED, "verbosity": -1}
)


class Escalation:
    """Boosted trees with few leaves, since a ticket stands in the rows once for every night it was open."""

    kind: ClassVar[Kind] = "lightgbm"
    params: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            **DETERMINISTIC,
            "objective": "binary",
            "num_leaves": 8,
            "learning_rate": 0.05,
            "min_data_in_leaf": 30,
            "feature_fraction": 0.7,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "lambda_l2": 5.0,
        }
    )
    actions: tuple[str, ...] = ()
    rounds: ClassVar[int] = 120

    def __init__(self) -> None:
        self._booster: lightgbm.Booster | None = None
        self.calibration: Calibration | None = None

    def fit(self, train: Slice, calibration: Slice) -> Self:
        """Learn from a slice; scale on the calibration slice."""
        self._booster = lightgbm.train(dict(self.params), lightgbm.Dataset(train.x, train.y), self.rounds)
        self.calibration = calibrate(self._raw(calibration.x), calibration.y) if len(calibration) else None
        return self

    def predict(self, x: Floats) -> Floats:
        """Return calibrated probabilities; shape (rows,)."""
        raw = self._raw(x)
        return self.calibration.apply(raw) if self.calibration else raw

    def importance(self) -> Floats:
        """Return the total gain of each feature; shape (features,)."""
        return np.asarray(self.native().feature_importance("gain"), dtype=np.float64)

    def save(self, folder: Path) -> tuple[str, ...]:
        """Write ``model.txt``."""
        (folder / FILE).write_text(self.native().model_to_string(), encoding="utf-8")
        return (FILE,)

    def native(self) -> lightgbm.Booster:
        """Return the booster."""
        if self._booster is None:
            raise RuntimeError("the model was neither fitted nor loaded")
        return self._booster

    def _raw(self, x: Floats) -> Floats:
        return lightgbm_predictor(self.native())(x)


RECIPE = Escalation

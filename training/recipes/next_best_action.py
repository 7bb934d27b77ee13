"""Next best action: what each action is expected to earn, learned from logged actions; the policy takes the best."""

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
from rapport_feast.errors import Rejected
from training.recipes.escalation import DETERMINISTIC
from training.recipes.learner import Slice

FILE_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
"""What a name may be made of that becomes a file's, on every system."""


class NextBestAction:
    """One regressor per action, and the greedy policy over them.

    Greedy, not soft: the logging policy gives every action some probability, so overlap is its business, and the greedy
    policy is what serving does.

    Notes
    -----
    The direct method of Dudik, Langford and Li, Doubly Robust Policy Evaluation and Learning (2011).
    """

    kind: ClassVar[Kind] = "lightgbm_policy"
    params: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            **DETERMINISTIC,
            "objective": "regression",
            "num_leaves": 6,
            "learning_rate": 0.05,
            "min_data_in_leaf": 40,
            "feature_fraction": 0.6,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "lambda_l2": 10.0,
        }
    )
    rounds: ClassVar[int] = 80

    def __init__(self) -> None:
        self._boosters: dict[str, lightgbm.Booster] = {}
        self.calibration: Calibration | None = None

    @property
    def actions(self) -> tuple[str, ...]:
        """Every action that was seen, sorted."""
        return tuple(self._boosters)

    def fit(self, train: Slice, calibration: Slice) -> Self:
        """Learn from logged decisions, the later ones of the calibration slice included.

        Raises
        ------
        Rejected
            An action's name cannot be a file's.
        """
        x, y = np.concatenate([train.x, calibration.x]), np.concatenate([train.y, calibration.y])
        action = np.concatenate([train.action, calibration.action])
        names = sorted(set(action.tolist()))
        if unsafe := [name for name in names if not name or set(name) - FILE_NAME]:
            raise Rejected("action", "a name of small letters, digits, _ and -", repr(unsafe[0]))
        self._boosters = {
            name: lightgbm.train(dict(self.params), lightgbm.Dataset(x[action == name], y[action == name]), self.rounds)
            for name in names
        }
        return self

    def predict(self, x: Floats) -> Floats:
        """Return the expected reward of each action; shape (rows, actions)."""
        return np.column_stack([lightgbm_predictor(self._boosters[name])(x) for name in self.actions])

    def importance(self) -> Floats:
        """Return the total gain of each feature over all actions; shape (features,)."""
        gains = [b.feature_importance("gain") for b in self._boosters.values()]
        return np.asarray(np.sum(gains, axis=0), dtype=np.float64)

    def save(self, folder: Path) -> tuple[str, ...]:
        """Write one ``<action>.txt`` per action."""
        for name, booster in self._boosters.items():
            (folder / f"{name}.txt").write_text(booster.model_to_string(), encoding="utf-8")
        return tuple(f"{name}.txt" for name in self.actions)

    def native(self) -> None:
        """Return nothing: there is one booster per action."""
        return


RECIPE = NextBestAction

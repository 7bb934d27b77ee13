"""Next best action: what each action is expected to earn, learned from logged actions; the policy takes the best."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import lightgbm
import numpy as np
import numpy.typing as npt

from infra.models.arrays import Floats
from infra.models.calibration import Calibration
from infra.models.manifest import Kind
from rapport_feast.errors import Rejected
from training.recipes.escalation import DETERMINISTIC
from training.recipes.learner import Slice

PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")


class NextBestAction:
    """One regressor per action (the direct method of Dudik, Langford and Li 2011), and the greedy policy over them.

    Greedy, not soft: the logging policy gives every action some probability, so overlap is its business, and the greedy
    policy is what serving does.
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

    def __init__(self, boosters: Mapping[str, lightgbm.Booster] | None = None) -> None:
        self._boosters = dict(boosters or {})
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
        if strange := [name for name in names if not name or set(name) - PLAIN]:
            raise Rejected("action", "a name of small letters, digits, _ and -", repr(strange[0]))
        self._boosters = {
            name: lightgbm.train(dict(self.params), lightgbm.Dataset(x[action == name], y[action == name]), self.rounds)
            for name in names
        }
        return self

    def predict(self, x: Floats) -> Floats:
        """Return the expected reward of each action; shape (rows, actions)."""
        return np.column_stack([np.asarray(self._boosters[name].predict(x), dtype=np.float64) for name in self.actions])

    def choose(self, x: Floats) -> npt.NDArray[np.str_]:
        """Return the action of the greatest expected reward; shape (rows,)."""
        return np.asarray(np.array(self.actions)[self.predict(x).argmax(axis=1)], dtype=np.str_)

    def importance(self) -> Floats:
        """Return the total gain of each feature over all actions; shape (features,)."""
        gains = [b.feature_importance("gain") for b in self._boosters.values()]
        return np.asarray(np.sum(gains, axis=0), dtype=np.float64)

    def save(self, folder: Path) -> tuple[str, ...]:
        """Write one ``<action>.txt`` per action."""
        for name, booster in self._boosters.items():
            (folder / f"{name}.txt").write_text(booster.model_to_string(), encoding="utf-8")
        return tuple(f"{name}.txt" for name in self.actions)

    @classmethod
    def load(cls, folder: Path, *, actions: Sequence[str] = (), calibration: Calibration | None = None) -> Self:
        """Read a saved policy."""
        texts = {name: (folder / f"{name}.txt").read_text(encoding="utf-8") for name in actions}
        return cls({name: lightgbm.Booster(model_str=text) for name, text in texts.items()})

    def native(self) -> None:
        """Return nothing: there is one booster per action."""
        return

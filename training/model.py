"""What every model is: fitted on arrays, saved as data-only files, and the same wherever it is loaded.

``churn.py``, ``escalation.py`` and ``next_best_action.py`` each hold one; ``dataset.py`` makes the arrays.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from infra.errors import Rejected
from infra.registry import Kind
from training.intervals import Floats

CLIP = 1e-7
SEED = 7


@dataclass(frozen=True)
class Slice:
    """Rows as a learner takes them.

    Attributes
    ----------
    x
        Encoded features, NaN where there is no value; shape (rows, features).
    y
        Label; shape (rows,).
    who
        Entity of each row; shape (rows,).
    action, propensity
        Of a logged decision; shape (rows,), or empty where the label is no reward.
    """

    x: Floats
    y: Floats
    who: npt.NDArray[np.str_]
    action: npt.NDArray[np.str_]
    propensity: Floats

    def __len__(self) -> int:
        return len(self.y)


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


def calibrate(raw: Floats, y: Floats) -> Calibration | None:
    """Fit a calibration where it can only scale: none without both classes or where it would turn the order around."""
    if len(np.unique(y)) < 2:
        return None
    found = Calibration.fit(raw, y)
    return found if found.a > 0 else None


class Model(Protocol):
    """A learner with its files."""

    kind: ClassVar[Kind]
    params: ClassVar[Mapping[str, Any]]
    calibration: Calibration | None

    @property
    def actions(self) -> tuple[str, ...]:
        """What a policy chooses from, in the order of its predictions; empty for a score."""
        ...

    def fit(self, train: Slice, calibration: Slice) -> Self:
        """Learn from a slice; the later calibration slice only scales, and may be empty."""
        ...

    def predict(self, x: Floats) -> Floats:
        """Return probabilities, shape (rows,), or the expected reward of each action, shape (rows, actions)."""
        ...

    def importance(self) -> Floats:
        """Return how much each feature gained; shape (features,)."""
        ...

    def save(self, folder: Path) -> tuple[str, ...]:
        """Write data-only files into a folder and return their names."""
        ...

    @classmethod
    def load(cls, folder: Path, *, actions: Sequence[str] = (), calibration: Calibration | None = None) -> Self:
        """Read a saved model."""
        ...

    def native(self) -> Any:
        """Return the library's own model for the registry, None where there are several."""
        ...


RECIPES: Mapping[str, str] = MappingProxyType(
    {"churn": "Churn", "escalation": "Escalation", "next_best_action": "NextBestAction"}
)


def recipe(name: str) -> type[Model]:
    """Return the model class of a recipe, imported only now because its library is heavy.

    Raises
    ------
    Rejected
        There is no such recipe.
    """
    if name not in RECIPES:
        raise Rejected("recipe", f"one of {', '.join(RECIPES)}", repr(name))
    return cast(type[Model], getattr(importlib.import_module(f"training.{name}"), RECIPES[name]))

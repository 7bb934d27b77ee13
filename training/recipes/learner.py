"""What every recipe is: fitted on arrays, saved as data-only files that ``infra.models`` scores everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from infra.models.arrays import Floats
from infra.models.calibration import Calibration
from infra.models.manifest import Kind

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
    entity
        Whom each row is about: rows of one entity are not independent; shape (rows,).
    action, propensity
        Of a logged decision; shape (rows,), or empty where the label is no reward.
    """

    x: Floats
    y: Floats
    entity: npt.NDArray[np.str_]
    action: npt.NDArray[np.str_]
    propensity: Floats

    def __len__(self) -> int:
        return len(self.y)


class Learner(Protocol):
    """A recipe's learner; a module of a recipe names its class ``RECIPE``.

    Attributes
    ----------
    kind
        What its files are; ``infra.models.predictors`` reads them by it.
    params
        What the registry notes of it.
    calibration
        Applied to the raw score, None where it counts as it is.
    """

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

    def native(self) -> Any:
        """Return the library's own model for the registry, None where there are several."""
        ...

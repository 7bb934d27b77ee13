"""What every recipe is: fitted on arrays, saved as data-only files, and the same wherever it is loaded."""

from collections.abc import Mapping, Sequence
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

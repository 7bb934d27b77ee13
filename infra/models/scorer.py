"""Where a model's number is made: values are encoded, predicted and calibrated, in training and in serving alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infra.models.arrays import Floats
from infra.models.bundle import Champion, read_bundle
from infra.models.encoding import encode
from infra.models.manifest import Manifest
from infra.models.predictors import Predictor, load_predictors
from infra.workspace import Workspace


@dataclass(frozen=True)
class Scorer:
    """A published version, ready to score.

    Attributes
    ----------
    digest
        SHA-256 of the manifest: which model it was, to the byte.
    predictors
        Action = predictor of its value; a score has one, under the empty name.
    """

    manifest: Manifest
    digest: str
    predictors: Mapping[str, Predictor]

    def predict(self, encoded: Floats) -> Floats:
        """Return calibrated probabilities, shape (rows,), or expected rewards, shape (rows, actions).

        Parameters
        ----------
        encoded
            As ``encode`` makes them of the manifest's features; shape (rows, features).
        """
        if self.manifest.actions:
            return np.column_stack([self.predictors[action](encoded) for action in self.manifest.actions])
        raw, calibration = self.predictors[""](encoded), self.manifest.calibration
        return calibration.apply(raw) if calibration else raw

    def scores(self, rows: Sequence[Sequence[Any]]) -> list[float]:
        """Return the calibrated probability of each row of plain values."""
        scores: list[float] = self.predict(encode(rows, self.manifest.features)).tolist()
        return scores

    def action_values(self, rows: Sequence[Sequence[Any]]) -> list[dict[str, float]]:
        """Return the expected reward of each action for each row of plain values."""
        values = self.predict(encode(rows, self.manifest.features)).tolist()
        return [dict(zip(self.manifest.actions, row, strict=True)) for row in values]


def load_scorer(folder: Path, champion: Champion) -> Scorer:
    """Load the version that serves, from a model's folder, after checking every digest.

    Raises
    ------
    ModelUnreadable, DigestDiffers, WrongVersion
        A file is missing or is not the one that was published.
    ModelMalformed
        The manifest or a file is not in the form that training writes.
    """
    bundle = read_bundle(folder, champion)
    return Scorer(bundle.manifest, bundle.digest, load_predictors(bundle.manifest, bundle.contents))


def champion_scorer(ws: Workspace, name: str) -> Scorer | None:
    """Load the champion of a model; None if no version serves."""
    folder = ws.folder("models") / name
    chosen = Champion.of(folder)
    return load_scorer(folder, chosen) if chosen else None

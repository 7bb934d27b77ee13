"""The manifest: what a published model version says about itself, written by training and read by everybody."""

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from infra.models.calibration import Calibration

Kind = Literal["xgboost", "lightgbm", "lightgbm_policy"]


class Part(BaseModel):
    """A part of a manifest: frozen, and no key that nothing reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Feature(Part):
    """An input of a model; a text is encoded as its place among the categories.

    Attributes
    ----------
    ref
        ``view:feature``, as Feast names it; the view carries the version of its definition.
    categories
        The texts that the training slice held, sorted; None for a number.
    """

    ref: str = Field(pattern=r"^[^:]+:[^:]+$")
    dtype: Literal["int64", "float64", "string"]
    categories: tuple[str, ...] | None = None

    @property
    def view(self) -> str:
        """The view that the feature belongs to."""
        return self.ref.partition(":")[0]

    @property
    def name(self) -> str:
        """The feature without its view: the column in a training set."""
        return self.ref.partition(":")[2]

    @cached_property
    def places(self) -> Mapping[Any, float]:
        """Category = the number that stands for it; empty for a number."""
        return MappingProxyType({word: float(place) for place, word in enumerate(self.categories or ())})


class Manifest(Part):
    """What a published version says about itself.

    Attributes
    ----------
    recipe, entity
        The learner, and whom a row is about: ``customer``, ``ticket``, ...
    kind
        What the files are, and so what they are read with.
    features
        The inputs, in the order of the columns.
    files
        Name = SHA-256 of each file beside the manifest.
    actions
        What a policy chooses from, in the order of its columns; empty for a score.
    calibration
        Applied to the raw score; None where the raw score counts.
    metric, value, interval, baseline, rows
        The figure that the gate decided by, with its interval, that of the best baseline, and the rows of the test.
    night, trained_at, run_id, dataset_digest
        What it was trained on, when, and its run in MLflow.
    """

    name: str
    version: str
    recipe: str
    entity: str
    kind: Kind
    features: tuple[Feature, ...]
    files: Mapping[str, str]
    actions: tuple[str, ...] = ()
    calibration: Calibration | None = None
    metric: str
    value: float
    interval: tuple[float, float]
    baseline: float
    rows: int
    night: str
    trained_at: str
    run_id: str
    dataset_digest: str

    def summary(self) -> dict[str, Any]:
        """Return what ``status.json`` says about a version."""
        return self.model_dump(mode="json", include={"version", "metric", "value", "interval", "baseline", "rows"})

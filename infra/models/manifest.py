"""The manifest: what a published model version says about itself, and its features."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["xgboost", "lightgbm", "lightgbm_policy"]


class Part(BaseModel):
    """A part of a manifest: frozen, and nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Feature(Part):
    """An input of a model; a text is encoded as its place among the categories."""

    ref: str
    dtype: Literal["int64", "float64", "string"]
    categories: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The feature without its view: the column in a training set."""
        return self.ref.partition(":")[2]


class Manifest(Part):
    """What a published version says about itself."""

    name: str
    version: str
    recipe: str
    entity: str
    kind: Kind
    features: tuple[Feature, ...]
    files: Mapping[str, str]
    actions: tuple[str, ...] = ()
    calibration: Mapping[str, float] | None = None
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

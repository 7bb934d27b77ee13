"""The champion models, loaded from the data-only folders that training publishes; every digest is checked first.

Training and the registry write ``<name>/champion.json`` and ``<name>/<version>/``; the service scores with them here.
"""

import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rapport_feast.errors import Rejected, Terminal
from rapport_feast.value_form import Value
from serving.lookup.views import Reference

CHAMPION_FILE = "champion.json"
PLAIN_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
DIGEST = r"^[0-9a-f]{64}$"
CLIP = 1e-7
HEAVY = ("pandas", "sklearn", "pyarrow", "matplotlib", "dask", "graphviz")

Floats = npt.NDArray[np.float64]


class Champion(BaseModel):
    """What ``champion.json`` says: which version serves, and the digest of its manifest."""

    model_config = ConfigDict(frozen=True)

    version: str = Field(pattern=PLAIN_NAME)
    digest: str = Field(pattern=DIGEST)


class Feature(BaseModel):
    """One input of a model; a string is encoded as its place among the categories."""

    model_config = ConfigDict(frozen=True)

    ref: str = Field(pattern=r"^[^:]+:[^:]+$")
    dtype: Literal["int64", "float64", "string"]
    categories: tuple[str, ...] | None = None

    @property
    def reference(self) -> Reference:
        """The feature as the lookup names it."""
        view, _, feature = self.ref.partition(":")
        return Reference(view, feature)

    def encode(self, value: Value) -> float:
        """Return the value as the model was trained on it: absent, null and unknown are NaN."""
        if value is None:
            return math.nan
        if self.dtype == "string":
            categories = self.categories or ()
            return float(categories.index(value)) if value in categories else math.nan
        return float(value)


class Calibration(BaseModel):
    """Platt scaling on the log odds (Platt 1999): ``sigmoid(a * logit(p) + b)``."""

    model_config = ConfigDict(frozen=True)

    a: float
    b: float

    def apply(self, raw: Floats) -> Floats:
        """Return the calibrated probabilities."""
        p = np.clip(raw, CLIP, 1 - CLIP)
        return np.asarray(1 / (1 + np.exp(-(self.a * np.log(p / (1 - p)) + self.b))), dtype=np.float64)


class Manifest(BaseModel):
    """What a model folder says about itself; the rest of the file is for people."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    recipe: str
    entity: str
    kind: Literal["xgboost", "lightgbm", "lightgbm_policy"]
    features: tuple[Feature, ...] = Field(min_length=1)
    files: Mapping[str, str] = Field(min_length=1)
    actions: tuple[str, ...] = ()
    calibration: Calibration | None = None
    night: str | None = None


class Predictor(Protocol):
    """A loaded learner: rows of encoded features to one number each."""

    def __call__(self, rows: Floats) -> Floats:
        """Return one number per row."""
        ...


@dataclass(frozen=True)
class Model:
    """A champion, ready to score."""

    manifest: Manifest
    digest: str
    predictors: Mapping[str, Predictor]

    @property
    def references(self) -> list[Reference]:
        """The features that the model reads, in its own order."""
        return [feature.reference for feature in self.manifest.features]

    def encode(self, rows: Sequence[Sequence[Value]]) -> Floats:
        """Return rows of plain values as the matrix that the learner takes, NaN where there is no value."""
        features = self.manifest.features
        return np.array([[f.encode(v) for f, v in zip(features, row, strict=True)] for row in rows], dtype=np.float64)

    def scores(self, rows: Sequence[Sequence[Value]]) -> list[float]:
        """Return the calibrated probability of each row."""
        raw = self.predictors[""](self.encode(rows))
        calibration = self.manifest.calibration
        return [float(p) for p in (calibration.apply(raw) if calibration else raw)]

    def action_values(self, rows: Sequence[Sequence[Value]]) -> list[dict[str, float]]:
        """Return the expected value of each action for each row."""
        encoded = self.encode(rows)
        columns = {action: self.predictors[action](encoded) for action in self.manifest.actions}
        return [{action: float(column[i]) for action, column in columns.items()} for i in range(len(rows))]


def champion_of(folder: Path) -> Champion | None:
    """Read which version of a model serves; nothing if none does.

    Raises
    ------
    Rejected
        ``champion.json`` is not in the form that training writes.
    """
    try:
        return Champion.model_validate_json((folder / CHAMPION_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise _malformed(f"{folder.name}/{CHAMPION_FILE}", error) from None


def load_model(folder: Path, champion: Champion) -> Model:
    """Load a version from a model's folder after checking every digest.

    Raises
    ------
    Terminal
        A file is missing or its digest is not the one that was published.
    Rejected
        The manifest or a file is not in the form that training writes.
    """
    home = folder / champion.version
    manifest_bytes = _checked(home, "manifest.json", champion.digest)
    try:
        manifest = Manifest.model_validate_json(manifest_bytes)
    except ValidationError as error:
        raise _malformed(f"{folder.name}/{champion.version}/manifest.json", error) from None
    if (manifest.name, manifest.version) != (folder.name, champion.version):
        raise Terminal(f"{folder.name}/{champion.version} holds {manifest.name} version {manifest.version} instead.")
    contents = {name: _checked(home, name, digest) for name, digest in manifest.files.items()}
    return Model(manifest, champion.digest, _predictors(manifest, contents))


def _checked(home: Path, name: str, digest: str) -> bytes:
    where = f"{home.parent.name}/{home.name}/{name}"
    if Path(name).name != name:
        raise Terminal(f"{where}: a model's files stand in its own folder only.")
    try:
        content = (home / name).read_bytes()
    except OSError as error:
        raise Terminal(f"{where} cannot be read ({error.strerror}).") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise Terminal(f"{where} is not the file that was published: its SHA-256 differs.")
    return content


def _predictors(manifest: Manifest, contents: Mapping[str, bytes]) -> dict[str, Predictor]:
    if manifest.kind == "lightgbm_policy":
        wanted = {action: f"{action}.txt" for action in manifest.actions}
        if not wanted or set(wanted.values()) != set(contents):
            raise Rejected(f"model {manifest.name}", "one file per action", json.dumps(sorted(contents)))
        return {action: _lightgbm(manifest, contents[name]) for action, name in wanted.items()}
    if len(contents) != 1:
        raise Rejected(f"model {manifest.name}", "one file", json.dumps(sorted(contents)))
    load = _xgboost if manifest.kind == "xgboost" else _lightgbm
    return {"": load(manifest, next(iter(contents.values())))}


def _xgboost(manifest: Manifest, content: bytes) -> Predictor:
    with _without_frames():
        import xgboost
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(content))
    except xgboost.core.XGBoostError as error:
        raise Rejected(f"model {manifest.name}", "an XGBoost model", str(error).splitlines()[0]) from None
    _same_width(manifest, booster.num_features())
    return lambda rows: np.asarray(booster.inplace_predict(rows), dtype=np.float64)


def _lightgbm(manifest: Manifest, content: bytes) -> Predictor:
    with _without_frames():
        import lightgbm
    try:
        booster = lightgbm.Booster(model_str=content.decode())
    except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
        raise Rejected(f"model {manifest.name}", "a LightGBM model", str(error)) from None
    _same_width(manifest, booster.num_feature())
    return lambda rows: np.asarray(booster.predict(rows, num_threads=1), dtype=np.float64)


def _same_width(manifest: Manifest, width: int) -> None:
    if width != len(manifest.features):
        raise Rejected(f"model {manifest.name}", f"{len(manifest.features)} inputs, as its manifest says", str(width))


@contextmanager
def _without_frames() -> Iterator[None]:
    """Hide the packages that both learners import only to accept their objects: 0.8 s to import instead of 4 to 8."""
    hidden: dict[str, Any] = {name: None for name in HEAVY if name not in sys.modules}
    sys.modules.update(hidden)
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def _malformed(where: str, error: ValidationError) -> Rejected:
    first = error.errors()[0]
    return Rejected(where, "what training writes", f"{'.'.join(map(str, first['loc']))}: {first['msg']}")

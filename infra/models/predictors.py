"""The learners' own models, read from data-only files: encoded rows in, raw scores out."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from infra.models.arrays import Floats
from infra.models.errors import ModelMalformed
from infra.models.manifest import Manifest

if TYPE_CHECKING:
    import lightgbm
    import xgboost

UNUSED = ("pandas", "sklearn", "pyarrow", "matplotlib", "dask", "graphviz")
Predictor: TypeAlias = Callable[[Floats], Floats]


def load_predictors(manifest: Manifest, contents: Mapping[str, bytes]) -> dict[str, Predictor]:
    """Read the files of a version.

    Parameters
    ----------
    contents
        File name = content, digests checked.

    Returns
    -------
    dict
        Action = predictor of its value; a score has one predictor, under the empty name.

    Raises
    ------
    ModelMalformed
        The files are not those of the manifest's kind, or take another number of inputs.
    """
    if manifest.kind == "lightgbm_policy":
        wanted = {action: f"{action}.txt" for action in manifest.actions}
        if not wanted or set(wanted.values()) != set(contents):
            raise ModelMalformed(f"model {manifest.name}", "one file per action", ", ".join(sorted(contents)))
        return {action: _read_lightgbm(manifest, contents[name]) for action, name in wanted.items()}
    if len(contents) != 1:
        raise ModelMalformed(f"model {manifest.name}", "one file", ", ".join(sorted(contents)) or "none")
    read = _read_xgboost if manifest.kind == "xgboost" else _read_lightgbm
    return {"": read(manifest, next(iter(contents.values())))}


def xgboost_predictor(booster: "xgboost.Booster") -> Predictor:
    """Return what an XGBoost model says of rows; shape (rows,)."""
    return lambda rows: np.asarray(booster.inplace_predict(rows), dtype=np.float64)


def lightgbm_predictor(booster: "lightgbm.Booster") -> Predictor:
    """Return what a LightGBM model says of rows; shape (rows,)."""
    # One thread: the service scores a few rows, for which starting more costs longer than it saves.
    return lambda rows: np.asarray(booster.predict(rows, num_threads=1), dtype=np.float64)


def _read_xgboost(manifest: Manifest, content: bytes) -> Predictor:
    with _without_unused():
        import xgboost
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(content))
    except xgboost.core.XGBoostError as error:
        raise ModelMalformed(f"model {manifest.name}", "an XGBoost model", str(error).splitlines()[0]) from None
    _refuse_width(manifest, booster.num_features())
    return xgboost_predictor(booster)


def _read_lightgbm(manifest: Manifest, content: bytes) -> Predictor:
    with _without_unused():
        import lightgbm
    try:
        booster = lightgbm.Booster(model_str=content.decode())
    except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
        raise ModelMalformed(f"model {manifest.name}", "a LightGBM model", str(error)) from None
    _refuse_width(manifest, booster.num_feature())
    return lightgbm_predictor(booster)


def _refuse_width(manifest: Manifest, width: int) -> None:
    if width != len(manifest.features):
        expected = f"{len(manifest.features)} inputs, as its manifest says"
        raise ModelMalformed(f"model {manifest.name}", expected, str(width))


@contextmanager
def _without_unused() -> Iterator[None]:
    """Hide what both learners import only to accept its objects: an import then takes 0.8 s instead of 4 to 8."""
    hidden: dict[str, Any] = {name: None for name in UNUSED if name not in sys.modules}
    sys.modules.update(hidden)
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)

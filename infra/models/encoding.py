"""Feature encoding: from values to the matrix that a model takes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from infra.models.arrays import Floats
from infra.models.manifest import Feature


def encode(rows: pd.DataFrame, features: Sequence[Feature]) -> Floats:
    """Return the matrix that a model takes: a text is its place among the categories, NaN where unknown or missing.

    Returns
    -------
    numpy.ndarray
        Shape (rows, features), float64.
    """
    columns = [_encoded(rows[feature.name], feature) for feature in features]
    return np.column_stack(columns) if columns else np.empty((len(rows), 0))


def _encoded(column: pd.Series, feature: Feature) -> Floats:
    if feature.dtype != "string":
        return np.asarray(column.astype("Float64").to_numpy("float64", na_value=np.nan), dtype=np.float64)
    places = {word: float(i) for i, word in enumerate(feature.categories or ())}
    return np.asarray(column.astype(object).map(places), dtype=np.float64)

"""Feature encoding: from plain values to the matrix that a model takes, in training and in serving alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.models.arrays import Floats
from infra.models.manifest import Feature


def encode(rows: Sequence[Sequence[Any]] | npt.NDArray[np.object_], features: Sequence[Feature]) -> Floats:
    """Return the matrix that a model takes.

    A number stays what it is; a text becomes its place among the categories; what is null, and a text that the
    training slice did not hold, becomes NaN, which both learners take as missing.

    Parameters
    ----------
    rows
        Plain values or None in the order of the features; shape (rows, features).

    Returns
    -------
    numpy.ndarray
        Shape (rows, features), float64.

    Examples
    --------
    >>> plan = Feature(ref="profile:plan", dtype="string", categories=("basic", "pro"))
    >>> orders = Feature(ref="orders:count", dtype="int64")
    >>> encode([["pro", 3], ["unheard of", None]], [plan, orders]).tolist()
    [[1.0, 3.0], [nan, nan]]
    """
    # An array of objects first, so that one pass in C turns numbers and None into floats: a call per value is slower.
    values = np.array(rows, dtype=object).reshape(len(rows), len(features))
    for i, feature in enumerate(features):
        if feature.dtype == "string":
            values[:, i] = [feature.places.get(value, np.nan) for value in values[:, i]]
    return values.astype(np.float64)

"""The training set: a spine filled with features as known then, stored as a lake table of its own with a digest."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from features.catalogue import catalogue_of, groups_of
from features.declare.expression_types import DType
from features.store.joined_nights import joined_nights_by_view
from infra.clock import Nights
from infra.lake.commit import Commit
from infra.models.arrays import Floats
from infra.models.encoding import encode
from infra.models.manifest import Feature
from infra.workspace import Workspace
from training.data.hindsight import refuse_leakage
from training.data.label import Label
from training.recipes.learner import Slice

BLOCK = 20_000
"""Rows that are encoded at once: as objects they take four times the room."""


@dataclass(frozen=True)
class Dataset:
    """Rows with their label and raw features.

    Attributes
    ----------
    types
        ``view:feature`` = type.
    key
        Column of the entity.
    digest
        Of the stored table.
    """

    rows: pd.DataFrame
    types: dict[str, DType]
    key: str
    digest: str


def feature_types(ws: Workspace, label: Label) -> dict[str, DType]:
    """Return ``view:feature`` = type of every feature of the label's entity that the company has.

    Raises
    ------
    Rejected
        A feature knows how it ended.
    """
    groups = [group for group in groups_of(ws.company) if group.entity == label.entity]
    refuse_leakage(label, [ref for group in groups for ref in group.refs()], catalogue_of(ws.company).groups)
    return {f"{group.view}:{feature.name}": feature.dtype for group in groups for feature in group.outputs}


def build_dataset(ws: Workspace, model: str, label: Label, spine: pd.DataFrame, night: date, run: str = "") -> Dataset:
    """Fill a spine with features as known then and store it as ``training_sets/<model>``.

    Parameters
    ----------
    spine
        From ``spine.build_spine``, split (``Split.joined``).
    night
        The night that trains, which is the partition.
    run
        The run that trains, kept in the commit.
    """
    from features.store.training_frame import training_frame

    types = feature_types(ws, label)
    frame = training_frame(ws, spine, list(types), night)
    names = {ref.partition(":")[2]: dtype for ref, dtype in types.items()}
    rows = frame.assign(**{n: _plain(frame[n], dtype) for n, dtype in names.items()})
    table = pa.Table.from_pandas(rows.assign(night=night), preserve_index=False)
    name = f"training_sets/{model}"
    nights = joined_nights_by_view(ws, types, label.entity.key, table, night)
    notes = {"label": label.name, "features": list(types), "nights": nights}
    ws.lake.replace(name, table, Commit(Nights(night, night), run=run, notes=notes))
    return Dataset(rows, types, label.entity.key, ws.lake.digests(name, Nights(night, night))[night])


def _plain(column: pd.Series, dtype: DType) -> Any:
    return (
        column.astype("string").astype(object)
        if dtype == "string"
        else column.astype("Float64").to_numpy("float64", na_value=np.nan)
    )


def learn_features(types: dict[str, DType], train: pd.DataFrame) -> tuple[Feature, ...]:
    """Return the features as a model takes them: the categories are those that the training slice holds."""
    return tuple(
        Feature(
            ref=ref, dtype=dtype, categories=_categories(train[ref.partition(":")[2]]) if dtype == "string" else None
        )
        for ref, dtype in types.items()
    )


def _categories(column: pd.Series) -> tuple[str, ...]:
    return tuple(sorted(column.dropna().astype(str).unique()))


def encode_frame(rows: pd.DataFrame, features: Sequence[Feature]) -> Floats:
    """Return the matrix that a model takes of a frame with a column per feature; shape (rows, features)."""
    columns = rows[[feature.name for feature in features]]
    blocks = (columns.iloc[start : start + BLOCK] for start in range(0, max(len(columns), 1), BLOCK))
    # The encoder takes None where pandas has NaN, NaT or NA, as the service reads it from a row.
    return np.concatenate([encode(b.astype(object).where(b.notna(), None).to_numpy(), features) for b in blocks])


def to_slice(rows: pd.DataFrame, features: Sequence[Feature], key: str) -> Slice:
    """Return rows as a learner takes them."""
    logged = "choice" in rows
    return Slice(
        encode_frame(rows, features),
        rows["label"].to_numpy("float64"),
        rows[key].to_numpy(str),
        rows["choice"].to_numpy(str) if logged else np.array([], dtype=str),
        rows["propensity"].to_numpy("float64") if logged else np.array([]),
    )

"""The training set: spine, features as known then, a split by time, and numbers as serving will encode them.

Comes after ``spine.py``; stored as a lake table of its own with a digest, so that it stays what it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from features.catalogue import CATALOGUE, groups_of
from features.spec import DType
from features.taken import nights_taken
from infra.clock import Nights
from infra.errors import Rejected
from infra.lake import Commit
from infra.registry import Feature
from infra.workspace import Workspace
from training.intervals import Floats
from training.labels import Label, refuse_label_inputs
from training.model import Slice

TEST_SHARE = 0.25
CALIBRATION_SHARE = 0.2


@dataclass(frozen=True)
class Dataset:
    """Rows with label and raw features, the types of the features, and the digest of the stored table."""

    rows: pd.DataFrame
    types: dict[str, DType]
    key: str
    digest: str


@dataclass(frozen=True)
class Split:
    """Rows by time: whatever was learned from was known before the test slice began."""

    train: pd.DataFrame
    calibration: pd.DataFrame
    test: pd.DataFrame

    def joined(self) -> pd.DataFrame:
        """Return all rows that are used, with the column ``slice``."""
        named = (("train", self.train), ("calibration", self.calibration), ("test", self.test))
        return pd.concat([rows.assign(slice=name) for name, rows in named], ignore_index=True)

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Self:
        """Read a split back from the column ``slice``."""
        return cls(*(rows[rows["slice"] == name] for name in ("train", "calibration", "test")))


def feature_types(ws: Workspace, label: Label) -> dict[str, DType]:
    """Return ``view:feature`` = type of every feature of the label's entity that the company has.

    Raises
    ------
    Rejected
        A feature knows how it ended.
    """
    groups = [group for group in groups_of(ws.company) if group.entity == label.entity]
    refuse_label_inputs(label, [ref for group in groups for ref in group.refs()], CATALOGUE)
    return {f"{group.view}:{feature.name}": feature.dtype for group in groups for feature in group.outputs}


def build_dataset(ws: Workspace, model: str, label: Label, spine: pd.DataFrame, night: date, run: str = "") -> Dataset:
    """Fill a spine with features as known then and store it as ``training_sets/<model>``.

    Parameters
    ----------
    spine
        From ``spine.build_spine``, split (``Split.joined``).
    night
        The night that trains, which is the partition.
    """
    from features.store.history import training_frame

    types = feature_types(ws, label)
    frame = training_frame(ws, spine, list(types), night)
    names = {ref.partition(":")[2]: dtype for ref, dtype in types.items()}
    rows = frame.assign(**{n: _plain(frame[n], dtype) for n, dtype in names.items()})
    table = pa.Table.from_pandas(rows.assign(night=night), preserve_index=False)
    name = f"training_sets/{model}"
    nights = nights_taken(ws, types, label.entity.key, table, night)
    notes = {"label": label.name, "features": list(types), "nights": nights}
    ws.lake.replace(name, table, Commit(Nights(night, night), run=run, notes=notes))
    return Dataset(rows, types, label.entity.key, ws.lake.digests(name, Nights(night, night))[night])


def _plain(column: pd.Series, dtype: DType) -> Any:
    return (
        column.astype("string").astype(object)
        if dtype == "string"
        else column.astype("Float64").to_numpy("float64", na_value=np.nan)
    )


def time_split(rows: pd.DataFrame, *, how: str = "time", test_share: float = TEST_SHARE) -> Split:
    """Split rows by time: train, then calibration, then test; what is not known when the test begins is left out.

    Parameters
    ----------
    rows
        With ``event_time`` and ``label_end``: a row may be learned from only if its label was known before the first
        moment of the test slice, so the two are at least a horizon apart.
    how
        ``time``; nothing else is accepted.
    test_share
        Share of the moments (of the rows, where every row has its own) that are tested on: the newest ones.

    Raises
    ------
    Rejected
        Another kind of split was asked for.
    """
    if how != "time":
        raise Rejected("split", "time: the rows have times, and a random split would learn from the future", repr(how))
    starts = _tail(rows["event_time"], test_share)
    known = rows[rows["label_end"] < starts]
    later = _tail(known["event_time"], CALIBRATION_SHARE)
    test = rows[rows["event_time"] >= starts]
    return Split(known[known["event_time"] < later], known[known["event_time"] >= later], test)


def _tail(times: pd.Series, share: float) -> pd.Timestamp:
    """Return the moment at which the newest share of the moments begins."""
    moments = np.sort(times.unique())
    if not len(moments):
        return pd.Timestamp.max.tz_localize("UTC").as_unit("us")
    return pd.Timestamp(moments[-max(int(np.ceil(len(moments) * share)), 1)])


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


def to_slice(rows: pd.DataFrame, features: Sequence[Feature], key: str) -> Slice:
    """Return rows as a learner takes them."""
    logged = "choice" in rows
    return Slice(
        encode(rows, features),
        rows["label"].to_numpy("float64"),
        rows[key].to_numpy(str),
        rows["choice"].to_numpy(str) if logged else np.array([], dtype=str),
        rows["propensity"].to_numpy("float64") if logged else np.array([]),
    )

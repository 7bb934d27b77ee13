"""Training sets: the features that each row of a spine would have been given at its moment, through Feast.

Comes after the labels, which make the spine, and before training.
"""

from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import date
from io import StringIO
from typing import Literal

import pandas as pd
from feast import FeatureStore

from features.catalogue import groups_of
from features.spec import DType, Group
from features.store.objects import split_ref
from features.store.repo import apply_definitions, open_store
from features.store.sources import refresh
from infra.clock import cutoff
from infra.errors import Rejected, Terminal
from infra.workspace import Workspace

TIME = "event_time"
FEAST_TIME = "event_timestamp"
POSITION = "spine_position"
MICROSECONDS: Literal["datetime64[us, UTC]"] = "datetime64[us, UTC]"
PANDAS: dict[DType, Literal["Int64", "float64", "string"]] = {
    "int64": "Int64",
    "float64": "float64",
    "string": "string",
}


def training_frame(ws: Workspace, spine: pd.DataFrame, refs: Sequence[str], night: date) -> pd.DataFrame:
    """Return a spine with features as they were known then.

    Parameters
    ----------
    spine
        Keys of the features' entities and ``event_time`` (aware UTC), any other columns, in any order, rows may repeat.
    refs
        References ``view:feature``; each becomes a column named by its feature.
    night
        No night after this one is seen, whatever the spine says.

    Returns
    -------
    pandas.DataFrame
        The rows of the spine in their order, with its index and columns; then one column per reference: ``Int64``,
        ``float64`` or ``string``, missing where no row was known.

    Raises
    ------
    Rejected
        A reference, a key or the time is unknown, or a feature has the name of a column of the spine.
    Terminal
        Feast lost, doubled or mixed up rows.
    """
    groups, types = _asked(ws, refs)
    keys = sorted({group.entity.key for group in groups})
    _refuse_unusable(spine, keys, list(types))
    if spine.empty:
        return spine.assign(**{name: pd.Series(dtype=PANDAS[dtype]) for name, dtype in types.items()})
    asked = pd.DataFrame({key: spine[key].astype(str).to_numpy() for key in keys})
    # Rows are known at their cutoff, so what was known by the night is what stands at the earlier of both times.
    times, last = spine[TIME].reset_index(drop=True), pd.Timestamp(cutoff(night))
    asked[FEAST_TIME] = times.where(times <= last, last).astype(MICROSECONDS)
    asked[POSITION] = range(len(asked))
    found = _from_feast(ws, groups, asked, refs)
    columns = {name: found[name].astype(PANDAS[dtype]).array for name, dtype in types.items()}
    return pd.concat([spine, pd.DataFrame(columns, index=spine.index)], axis=1)


def _from_feast(ws: Workspace, groups: Sequence[Group], asked: pd.DataFrame, refs: Sequence[str]) -> pd.DataFrame:
    """Ask Feast for one view after the other: its join of all of them at once takes longer and more memory."""
    for group in groups_of(ws.company):
        refresh(ws, group)
    store = open_store(ws)
    apply_definitions(ws, store)
    return pd.concat([_view(store, group, asked, refs) for group in groups], axis=1)


def _view(store: FeatureStore, group: Group, asked: pd.DataFrame, refs: Sequence[str]) -> pd.DataFrame:
    """Return one view's features in the order of the rows asked for."""
    names = [ref for ref in refs if split_ref(ref)[0] == group.view]
    given = [group.entity.key, FEAST_TIME, POSITION]
    with redirect_stdout(StringIO()):
        # As known is opt-in in Feast: without it late corrections leak into the past.
        job = store.get_historical_features(
            entity_df=asked[given].copy(), features=names, filter_by_created_timestamp=True
        )
        found = job.to_arrow().sort_by(POSITION)
    for column in (POSITION, group.entity.key):
        if found[column].to_pylist() != asked[column].tolist():
            raise Terminal(f"Feast returned {len(found)} rows for a spine of {len(asked)}, or not the same ones.")
    # Through Arrow, because Feast's own pandas turns integers with nulls into floats.
    frame: pd.DataFrame = found.drop_columns(given).to_pandas(integer_object_nulls=True)
    return frame


def _asked(ws: Workspace, refs: Sequence[str]) -> tuple[list[Group], dict[str, DType]]:
    """Return the groups of some references and the type of each feature, in order."""
    views = {group.view: group for group in groups_of(ws.company)}
    types: dict[str, DType] = {}
    groups: dict[str, Group] = {}
    for ref in refs:
        view, name = split_ref(ref)
        known = {feature.name: feature.dtype for feature in views[view].outputs} if view in views else {}
        if name not in known or name in types:
            raise Rejected("feature reference", "a feature of the current catalogue, once", repr(ref))
        groups[view], types[name] = views[view], known[name]
    if not groups:
        raise Rejected("feature references", "at least one", "none")
    return list(groups.values()), types


def _refuse_unusable(spine: pd.DataFrame, keys: Sequence[str], features: Sequence[str]) -> None:
    if missing := [column for column in (*keys, TIME) if column not in spine.columns]:
        raise Rejected("spine", f"the columns {', '.join((*keys, TIME))}", f"none named {missing[0]}")
    if not isinstance(spine[TIME].dtype, pd.DatetimeTZDtype) or spine[[*keys, TIME]].isna().any(axis=None):
        raise Rejected("spine", f"a key and an aware {TIME} in every row", "a row without, or times without a zone")
    if taken := sorted(set(features) & set(spine.columns)):
        raise Rejected("spine", "no column with the name of a feature", taken[0])

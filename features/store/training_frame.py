"""Training sets: the features that each row of a spine would have been given at its moment, through Feast.

Comes after the labels, which make the spine, and before training.
"""

from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import date
from io import StringIO
from typing import Literal

import pandas as pd
import pyarrow as pa

from features.catalogue import groups_of
from features.compute.tables import features_table
from features.declare.expression_types import DType
from features.declare.group import Group
from features.store.objects import split_ref
from features.store.published import refuse_unbuilt
from features.store.repo import apply_definitions, open_store
from infra.workspace import Workspace
from rapport_feast.errors import Rejected, Terminal

TIME = "event_time"
FEAST_TIME = "event_timestamp"
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
    groups, types = referenced_groups(ws, refs)
    keys = sorted({group.entity.key for group in groups.values()})
    _refuse_unusable(spine, keys, list(types))
    for group in (group for view, group in groups.items() if view == group.view):
        refuse_unbuilt(ws, group)
        ws.lake.files(features_table(group))  # refuses damaged files, which Feast would read as they are
    if spine.empty:
        return spine.assign(**{name: pd.Series(dtype=PANDAS[dtype]) for name, dtype in types.items()})
    asked = pd.DataFrame({key: spine[key].astype(str).to_numpy() for key in keys})
    asked[FEAST_TIME] = spine[TIME].astype(MICROSECONDS).array
    found = _from_feast(ws, asked, refs, night)
    if len(found) != len(spine):
        raise Terminal(f"Feast returned {len(found)} rows for a spine of {len(spine)}.")
    # Through Arrow, because Feast's own way to pandas turns integers with nulls into floats.
    frame = found.select(list(types)).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    columns = {name: frame[name].astype(PANDAS[dtype]).array for name, dtype in types.items()}
    return pd.concat([spine, pd.DataFrame(columns, index=spine.index)], axis=1)


def _from_feast(ws: Workspace, asked: pd.DataFrame, refs: Sequence[str], night: date) -> pa.Table:
    store = open_store(ws, known_by=night)
    apply_definitions(ws, store)
    with redirect_stdout(StringIO()):
        return store.get_historical_features(entity_df=asked, features=list(refs)).to_arrow()


def referenced_groups(ws: Workspace, refs: Sequence[str]) -> tuple[dict[str, Group], dict[str, DType]]:
    """Return the groups of some references by view, and the type of each feature, in order."""
    views = {group.view: group for group in groups_of(ws.company)}
    views |= {group.live_view: group for group in groups_of(ws.company) if group.served == "live"}
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
    return groups, types


def _refuse_unusable(spine: pd.DataFrame, keys: Sequence[str], features: Sequence[str]) -> None:
    if missing := [column for column in (*keys, TIME) if column not in spine.columns]:
        raise Rejected("spine", f"the columns {', '.join((*keys, TIME))}", f"none named {missing[0]}")
    if not isinstance(spine[TIME].dtype, pd.DatetimeTZDtype) or spine[[*keys, TIME]].isna().any(axis=None):
        raise Rejected("spine", f"a key and an aware {TIME} in every row", "a row without, or times without a zone")
    if taken := sorted(set(features) & set(spine.columns)):
        raise Rejected("spine", "no column with the name of a feature", taken[0])

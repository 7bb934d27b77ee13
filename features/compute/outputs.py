"""The features of a group from the states of its windows, and the schema of its table."""

import pyarrow as pa
from ibis.expr.types import IntegerValue, Table, Value

from features.compute import algebra, expressions
from features.compute.windowing import windows
from features.declare.group import Group

ARROW = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}


def finished(group: Group, states: Table, t_us: IntegerValue, kept: list[str]) -> Table:
    """Return the features of a group from the states of its windows.

    Parameters
    ----------
    states
        One row per entity and moment, with the states of all windows; none where nothing was found.
    t_us
        The moment of each row in microseconds.
    kept
        Columns to keep beside the entity's key.
    """
    features = {feature.name: feature for feature in group.outputs}
    found: dict[str, Value] = {}
    for measure, name, window in windows(group):
        feature = features[group.feature_name(measure, name.rpartition("__")[2])]
        state = {part: states[f"{name}__{part}"] for part in algebra.parts(measure)}
        found[feature.name] = algebra.finalise(measure, state, window, t_us, feature)
    whole = found | expressions.derive(group, found)
    ordered = {feature.name: whole[feature.name] for feature in group.outputs}
    return states.select(**{group.entity.key: states.entity}, **{name: states[name] for name in kept}, **ordered)


def schema_of(group: Group) -> pa.Schema:
    """Return the Arrow schema of the group's table in the lake."""
    stamp = pa.timestamp("us", "UTC")
    columns = [(group.entity.key, pa.string()), ("event_time", stamp), ("known_at", stamp)]
    features = [(feature.name, ARROW[feature.dtype]) for feature in group.outputs]
    return pa.schema([*columns, *features, ("night", pa.date32())])

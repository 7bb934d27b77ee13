"""What a feature table must hold before it is written: the suite made of its group's declaration, judged every night.

A suite judges witnesses: of every night the least and the greatest value of each feature, how much of it is filled, and
the counts of rows and keys. What holds for them holds for all rows, and a history of years costs no more than a night.
"""

import json
from collections.abc import Iterator
from dataclasses import astuple
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.compute.outputs import schema_of
from features.declare.feature import Feature
from features.declare.group import Group
from infra.clock import cutoff
from infra.lake.lake import NIGHT
from rapport_feast.errors import Rejected
from validation.gate.table_rules import Between, Broken, Equal, Rule

TIMES = ("event_time", "known_at")
FILLED = "filled part of {}"
ROWS, KEYS, CUTOFF = "number of rows", "number of different keys", "cutoff of the night"


def rules_of(group: Group) -> tuple[Rule, ...]:
    """Return the rules of a group's table: one key a night, known at its cutoff, and what each feature declares.

    Examples
    --------
    >>> from features.catalogue import standard
    >>> [f"{rule.column}: {rule}" for rule in rules_of(standard().group("customer_orders"))][3:5]
    ['customer__orders__30d: at least 0', 'customer__orders__90d: at least 0']
    """
    return (Equal(KEYS, ROWS), *(Equal(time, CUTOFF) for time in TIMES), *_expected(group.outputs))


def _expected(features: tuple[Feature, ...]) -> Iterator[Rule]:
    for feature in features:
        expect = feature.expect
        if expect.least is not None or expect.most is not None:
            yield Between(feature.name, expect.least, expect.most)
        if expect.filled:
            yield Between(FILLED.format(feature.name), expect.filled, None)


def declared(group: Group) -> str:
    """Return what a group expects as text: a table built under other expectations is judged again."""
    return json.dumps([(feature.name, astuple(feature.expect)) for feature in group.outputs])


def judge(group: Group, rows: pa.Table) -> dict[str, Any]:
    """Judge rows of a group's table, before they are written.

    Parameters
    ----------
    rows
        Whole nights of the table.

    Returns
    -------
    dict
        ``rules`` that hold, ``rows`` and ``nights`` judged, and per bounded feature the ``least`` and ``most`` found.

    Raises
    ------
    Rejected
        A rule does not hold, or a column has another type.
    """
    wanted = schema_of(group)
    for field in wanted:
        found = rows.schema.field(field.name).type if field.name in rows.schema.names else "no such column"
        if found != field.type:
            raise Rejected(f"{group.view}, {field.name}", str(field.type), str(found))
    rules = rules_of(group)
    if not len(rows):
        return {"rules": len(rules), "rows": 0, "nights": 0, "found": {}}
    from validation.gate.suites import check_table  # heavy: only a night that was built needs it

    witnesses = _witnesses(group, rows, rules)
    if broken := check_table(group.view, witnesses, rules):
        raise _refusal(group, broken)
    bounded = [rule.column for rule in rules if isinstance(rule, Between)]
    found = {name: _span(witnesses[name]) for name in bounded}
    return {"rules": len(rules), "rows": len(rows), "nights": witnesses.index.nunique(), "found": found}


def _witnesses(group: Group, rows: pa.Table, rules: tuple[Rule, ...]) -> pd.DataFrame:
    """Return two rows per night, of least and of greatest values; the counts stand in both."""
    bounded = [feature.name for feature in group.outputs if feature.name in {rule.column for rule in rules}]
    filled = [feature.name for feature in group.outputs if feature.expect.filled]
    extremes = [(name, how) for name in (*bounded, *TIMES) for how in ("min", "max")]
    counts = [(name, "count") for name in filled]
    of_keys: list[Any] = [(group.entity.key, "count_distinct", pc.CountOptions(mode="only_valid")), ([], "count_all")]
    nights = rows.group_by(NIGHT, use_threads=False).aggregate([*extremes, *counts, *of_keys]).sort_by(NIGHT)
    parts = []
    for how in ("min", "max"):
        part = pd.DataFrame({name: nights[f"{name}_{how}"].to_pandas() for name in (*bounded, *TIMES)})
        for name in filled:
            part[FILLED.format(name)] = (nights[f"{name}_count"].to_numpy() / nights["count_all"].to_numpy()).tolist()
        part[ROWS] = nights["count_all"].to_pandas()
        part[KEYS] = nights[f"{group.entity.key}_count_distinct"].to_pandas()
        part[CUTOFF] = [pd.Timestamp(cutoff(night)) for night in nights[NIGHT].to_pylist()]
        parts.append(part.set_index(pd.Index(nights[NIGHT].to_pylist(), dtype=object)))
    return pd.concat(parts)


def _span(values: "pd.Series[Any]") -> dict[str, Any]:
    found = values.dropna()
    return {"least": found.min().item(), "most": found.max().item()} if len(found) else {"least": None, "most": None}


def _refusal(group: Group, broken: list[Broken]) -> Rejected:
    first = broken[0]
    others = f" {len(broken) - 1} more rules of {group.view} do not hold." if len(broken) > 1 else ""
    return Rejected(
        f"{group.view}, {first.rule.column}, night {min(map(str, first.rows))}",
        str(first.rule),
        ", ".join(map(str, first.found)),
        f"Nothing of the night was written for this group.{others}",
    )

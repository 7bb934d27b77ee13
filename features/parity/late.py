"""Why a value that was true when it was served would be another now: the events that came, went or changed since.

A live value knows what was known when it was served. What arrives late, is revised, retracted, or turns out to be
of another entity changes the value as known now, and no fault is in that. The parity meter names those events.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import ibis
import pyarrow as pa
from ibis.expr.types import Table

from features.compute import expressions, group_facts
from features.compute.as_known import SILVER_COLUMNS, versions
from features.compute.contributions import COUNTS, counts, measured_behind, start
from features.compute.group_facts import ENTITY
from features.compute.silver import links_table, silver_table
from features.compute.windowing import DAY_MICROS, hop_micros, micros_of
from features.declare.group import Group
from features.declare.measure import Kind, Measure
from features.parity.recompute import ValueQuery
from infra.engine.engine import Engine, cutter
from infra.workspace import Workspace
from rapport_feast.times import EPOCH_DAY

MEASURED = "measured__"
PLACE = "place"
# Aggregates into which the time of a fact goes, beside what is measured of it.
DATED: frozenset[Kind] = frozenset({"since", "age", "first", "last", "slope", "decayed"})
Row = Mapping[str, Any]


def events_since(
    ws: Workspace,
    engine: Engine,
    group: Group,
    queries: Sequence[ValueQuery],
    differing: Sequence[Sequence[str]],
    now_us: int,
) -> list[dict[str, list[str]]]:
    """Return per query, and per feature that differs now, the ids of the events that explain it.

    Parameters
    ----------
    asked
        What was served, each with until when facts were known.
    differing
        The features of each query whose value is another as known now.
    now_us
        Until when a fact counts as known now, microseconds.
    """
    changed: dict[int, dict[str, list[Row]]] = {}
    for row in engine.to_arrow(_changed(ws, engine, group, queries, now_us)).to_pylist():
        changed.setdefault(row[PLACE], {}).setdefault(row["event_id"], []).append(row)
    return [
        {name: _behind(group, name, one.at_us, changed.get(place, {})) for name in names}
        for place, (one, names) in enumerate(zip(queries, differing, strict=True))
    ]


def _changed(ws: Workspace, engine: Engine, group: Group, queries: Sequence[ValueQuery], now_us: int) -> Table:
    """Return the versions of facts that a query saw then and would not see now, or the other way round."""
    last = EPOCH_DAY + timedelta(days=now_us // DAY_MICROS)
    columns = {*SILVER_COLUMNS, "source_id", group.entity.column_in(group.fact), *group.columns}
    silver = silver_table(ws, engine, group.fact, columns, last)
    links = links_table(ws, engine, group, last)
    said = None if links is None else versions(links, engine.micros)
    facts = group_facts.prepare(group, ws.company, versions(silver, engine.micros), said, cutter(engine))
    questions = engine.memtable(
        "differing",
        pa.table(
            {
                PLACE: pa.array(range(len(queries)), pa.int64()),
                "asked_entity": pa.array([one.entity for one in queries], pa.string()),
                "at_us": pa.array([one.at_us for one in queries], pa.int64()),
                "knew_us": pa.array([one.known_us for one in queries], pa.int64()),
            }
        ),
    )
    begins = questions.at_us - micros_of(group.longest) - hop_micros(group)
    near = [questions.asked_entity == facts[ENTITY], facts.event_us > begins, facts.event_us <= questions.at_us]
    joined = questions.join(facts, near)
    now = ibis.literal(now_us, "int64")
    seen = joined.mutate(
        then=(joined.known_from <= joined.knew_us) & (joined.knew_us < joined.known_until),
        now=(joined.known_from <= now) & (now < joined.known_until),
    )
    measures = group.measures
    told = {f"{COUNTS}{m.name}": counts(m, seen) for m in measures}
    told |= {f"{MEASURED}{m.name}": expressions.operand(seen, m.of) for m in measures if m.of is not None}
    return seen.filter(seen.then != seen.now).select(PLACE, "event_id", "event_us", "then", "now", **told)


def _behind(group: Group, name: str, at_us: int, changed: Mapping[str, Sequence[Row]]) -> list[str]:
    """Return the events whose part in a feature is another one now."""
    found = set[str]()
    for measure, window in measured_behind(group, [name]).values():
        begins = start(group, at_us, window)
        for event, rows in changed.items():
            inside = [row for row in rows if row["event_us"] > begins and row[f"{COUNTS}{measure.name}"]]
            if _parts(measure, inside, "then") != _parts(measure, inside, "now"):
                found.add(event)
    return sorted(found)


def _parts(measure: Measure, rows: Sequence[Row], seen: str) -> set[tuple[Any, ...]]:
    when = "event_us" if measure.kind in DATED else seen
    return {(row[when], row.get(f"{MEASURED}{measure.name}")) for row in rows if row[seen]}

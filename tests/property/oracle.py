"""What a feature group should say, computed the slow and obvious way; imports spec data only."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from features.spec import Col, Expression, Group, Measure
from infra.clock import cutoff
from infra.company import duration

Row = Mapping[str, Any]
DAY = timedelta(days=1)


def night_rows(group: Group, facts: Sequence[Row], night: date) -> dict[str, dict[str, Any]]:
    """Return the rows that a night writes, by entity key."""
    tonight = _windowed(group, _known(facts, cutoff(night)), cutoff(night))
    yesterday = _windowed(group, _known(facts, cutoff(night) - DAY), cutoff(night) - DAY)
    entities = {row["entity"] for row in [*tonight, *yesterday]}
    return {
        entity: _values(group, [row for row in tonight if row["entity"] == entity], cutoff(night))
        for entity in entities
    }


def _known(facts: Sequence[Row], at: datetime) -> list[Row]:
    """Return the newest revision of every event by a moment, without those that are gone."""
    newest: dict[str, Row] = {}
    for row in sorted(facts, key=lambda r: (r["revision"] or 0, r["ingested_at"], r["file"], r["position"])):
        if row["ingested_at"] <= at:
            newest[row["event_id"]] = row
    return [row for row in newest.values() if not row["retracted"]]


def _start(at: datetime, window: timedelta) -> datetime:
    start = at - window
    return start if window <= DAY else start.replace(hour=0, minute=0, second=0, microsecond=0)


def _windowed(group: Group, rows: Sequence[Row], at: datetime) -> list[Row]:
    counted = [row for row in rows if row["entity"] and _holds(group.where, row)]
    return [row for row in counted if _start(at, group.longest) < row["event_time"] <= at]


def _values(group: Group, rows: Sequence[Row], at: datetime) -> dict[str, Any]:
    found = {group.feature_name(m, w): _measure(m, rows, at, duration(w)) for m in group.measures for w in m.windows}
    for ratio in group.derived:
        over, under = found[ratio.over], found[ratio.under]
        found[ratio.name] = None if over is None or not under else over / under
    return found


def _measure(measure: Measure, rows: Sequence[Row], at: datetime, window: timedelta) -> Any:
    inside = [r for r in rows if _start(at, window) < r["event_time"] <= at and _holds(measure.where, r)]
    if measure.kind == "count":
        return len(inside)
    if measure.kind == "since":
        last = max((r["event_time"] for r in inside), default=None)
        return None if last is None else (at - last) // timedelta(seconds=1)
    pairs = [(r["event_time"], r["event_id"], value) for r in inside if (value := _operand(measure.of, r)) is not None]
    values = [value for _, _, value in pairs]
    match measure.kind:
        case "sum":
            return sum(values)
        case "mean":
            return sum(values) / len(values) if values else None
        case "distinct":
            return len(set(values))
        case "last":
            return max(pairs)[2] if pairs else None
        case _:
            return {"min": min, "max": max}[measure.kind](values, default=None)


def _holds(expression: Expression | None, row: Row) -> bool:
    return expression is None or bool(_operand(expression, row))


def _operand(part: Any, row: Row) -> Any:
    if isinstance(part, Col):
        return row[part.name]
    if not isinstance(part, Expression):
        return part
    first, *rest = (_operand(inner, row) for inner in part.operands)
    if part.operator == "and":
        return bool(first) and bool(rest[0])
    if first is None:
        return None
    match part.operator:
        case "==":
            return first == rest[0]
        case "in":
            return first in rest
        case "length":
            return len(first)
        case "matches":
            return re.search(rest[0], first.lower()) is not None
        case _:
            raise AssertionError(f"the oracle does not know {part.operator}")

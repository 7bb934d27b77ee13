"""What a feature group should say, computed the slow and obvious way; imports spec data only."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from features.declare.group import Group
from features.declare.measure import Measure
from features.declare.terms import Col, Expression
from infra.clock import cutoff, parse_duration
from rapport_feast.times import DAY, MICROSECOND

Row = Mapping[str, Any]
Values = dict[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
CAST: Mapping[str, Callable[[Any], Any]] = {"int64": int, "float64": float, "string": str}


class Oracle:
    """The values of a group over a history of silver rows.

    Parameters
    ----------
    facts, links
        Silver rows of the group's fact and of ``identity_links``, in any order.
    identity
        Id space = prefix of the entity's key.
    """

    def __init__(self, group: Group, facts: Sequence[Row], links: Sequence[Row], identity: Mapping[str, str]) -> None:
        self.group = group
        self.facts, self.links, self.identity = facts, links, identity
        self.hop = parse_duration(group.hop)
        self.lag = parse_duration(group.live_lag)

    def night(self, night: date) -> dict[str, Values]:
        """Return the rows that a night writes, by entity (rule T7)."""
        tonight, last_night = (self._within_longest(cutoff(night) - ago, cutoff(night) - ago) for ago in (0 * DAY, DAY))
        return {
            entity: self._values(tonight.get(entity, []), cutoff(night))
            for entity in sorted(tonight.keys() | last_night.keys())
        }

    def live(self, entity: str, at: datetime, known_at: datetime | None = None) -> Values:
        """Return the values of an entity at a moment, from what was known a little before it (rule V1), or by then."""
        return self._values(self._within_longest(at, known_at or at - self.lag).get(entity, []), at)

    def _within_longest(self, at: datetime, known_at: datetime) -> dict[str, list[Row]]:
        """Return the rows that count in any window, by entity."""
        links = known(self.links, known_at) if self.group.entity.linked else []
        found: dict[str, list[Row]] = {}
        for row in known(self.facts, known_at):
            entity = self._entity(row, links)
            if entity is not None and _holds(self.group.where, row) and self._inside(row, at, self.group.longest):
                found.setdefault(entity, []).append(row)
        return found

    def _entity(self, row: Row, links: Sequence[Row]) -> str | None:
        entity = self._company_wide(row["id_space"], row[self.group.entity.column_in(self.group.fact)])
        # A visitor is an account, and the account may have been merged into another one; that is all.
        for _step in range(2):
            entity = self._followed(entity, row["event_time"], links)
        return entity

    def _company_wide(self, id_space: str, local: str | None) -> str | None:
        return None if local is None else self.identity.get(id_space, f"{id_space}:") + local

    def _followed(self, entity: str | None, happened: datetime, links: Sequence[Row]) -> str | None:
        """Return whom the links that speak of an entity call it at a moment."""
        about = [x for x in links if entity and self._company_wide(x["id_space"], x["source_id"]) == entity]
        spoken = [x for x in about if x["event_time"] <= happened]
        backwards = [x for x in about if x["event_time"] > happened and x["backwards"]]
        if not spoken and not backwards:
            return entity
        link = max(spoken, key=_moment) if spoken else min(backwards, key=_moment)
        return str(link["customer"]) if link["kind"] == "linked" else entity

    def _start(self, at: datetime, window: timedelta) -> datetime:
        start = at - window
        if window <= DAY:
            return start
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
        return start - (start - midnight) % self.hop

    def _inside(self, row: Row, at: datetime, window: timedelta) -> bool:
        return self._start(at, window) < row["event_time"] <= at

    def _values(self, rows: Sequence[Row], at: datetime) -> Values:
        dtypes = {feature.name: feature.dtype for feature in self.group.outputs}
        found: Values = {}
        for measure in self.group.measures:
            counted = [row for row in rows if _holds(measure.where, row)]
            for window in measure.windows:
                inside = [row for row in counted if self._inside(row, at, parse_duration(window))]
                found[self.group.feature_name(measure, window)] = self._measure(measure, window, inside, at)
        for derived in self.group.ordered:
            value = _evaluate(derived.value, found)
            value = derived.empty if value is None else value
            found[derived.name] = None if value is None else CAST[dtypes[derived.name]](value)
        return {name: None if found[name] is None else CAST[dtype](found[name]) for name, dtype in dtypes.items()}

    def _measure(self, measure: Measure, window: str, rows: Sequence[Row], at: datetime) -> Any:
        if measure.kind in {"count", "rate", "since", "age"}:
            if not rows:
                return measure.empty_value
            times = [row["event_time"] for row in rows]
            match measure.kind:
                case "count":
                    return len(rows)
                case "rate":
                    return len(rows) / (parse_duration(window) / DAY)
                case "since":
                    return (at - max(times)) // SECOND
                case _:
                    return (at - min(times)) // SECOND
        valued = [(row, value) for row in rows if (value := _evaluate(measure.of, row)) is not None]
        if not valued:
            return measure.empty_value
        match measure.kind:
            case "share":
                return sum(value is True for _, value in valued) / len(valued)
            case "distinct":
                return len({str(value) for _, value in valued})
            case "first":
                return min(valued, key=lambda pair: _moment(pair[0]))[1]
            case "last":
                return max(valued, key=lambda pair: _moment(pair[0]))[1]
        whole = [(row, _whole(value, measure.scale)) for row, value in valued]
        if measure.kind == "decayed" and not any(self._weight(measure, row, at) for row, _ in whole):
            return measure.empty_value
        found = self._number(measure, whole, at)
        return found if found is None or measure.scale == 1 else float(found) / float(measure.scale)

    def _number(self, measure: Measure, whole: Sequence[tuple[Row, int]], at: datetime) -> int | float | None:
        numbers = [number for _, number in whole]
        match measure.kind:
            case "sum":
                return sum(numbers)
            case "mean":
                return float(sum(numbers)) / float(len(numbers))
            case "min":
                return min(numbers)
            case "max":
                return max(numbers)
            case "slope":
                return _slope([(row["event_time"] - EPOCH) // MINUTE for row, _ in whole], numbers)
            case "decayed":
                weights = [self._weight(measure, row, at) for row, _ in whole]
                over = sum(weight * number for weight, number in zip(weights, numbers, strict=True))
                return float(over) / float(sum(weights))
            case _:
                raise AssertionError(f"the oracle does not know {measure.kind}")

    def _weight(self, measure: Measure, row: Row, at: datetime) -> int:
        """Return what a row counts for in a decayed mean; after some thirty half-lives it is nothing."""
        age = self._tile(at) - self._tile(row["event_time"])
        return round(2**30 * 2 ** (-age / (parse_duration(measure.half_life) // self.hop)))

    def _tile(self, at: datetime) -> int:
        """Return the number of the hop that an instant ends or lies in."""
        return (at - EPOCH - MICROSECOND) // self.hop


def known(rows: Sequence[Row], at: datetime) -> list[Row]:
    """Return the newest revision of every event by a moment, without those that are gone (rule T3)."""
    newest: dict[str, Row] = {}
    for row in sorted(rows, key=lambda r: (r["ingested_at"], r["file"], r["position"])):
        before = newest.get(row["event_id"])
        if row["ingested_at"] <= at and (before is None or _order(row) >= _order(before)):
            newest[row["event_id"]] = row
    return [row for row in newest.values() if not row["retracted"]]


def _order(row: Row) -> int:
    return row["revision"] or 0


def _moment(row: Row) -> tuple[datetime, str]:
    return row["event_time"], row["event_id"]


def _whole(value: float, scale: int) -> int:
    return int(value) if scale == 1 else math.floor(value * scale + 0.5)


def _slope(xs: Sequence[int], ys: Sequence[int]) -> float | None:
    n = len(xs)
    over = n * sum(x * y for x, y in zip(xs, ys, strict=True)) - sum(xs) * sum(ys)
    under = n * sum(x * x for x in xs) - sum(xs) ** 2
    return float(over) / float(under) * 1440.0 if under else None


def _holds(condition: Any, row: Row) -> bool:
    return condition is None or _evaluate(condition, row) is True


def _evaluate(part: Any, row: Row) -> Any:
    """Return the value of an expression in a row; None where it has none."""
    if isinstance(part, Col):
        return row[part.name]
    if not isinstance(part, Expression):
        return part
    values = [_evaluate(inner, row) for inner in part.operands]
    match part.operator:
        case "and":
            return all(value is True for value in values)
        case "or":
            return any(value is True for value in values)
        case "not":
            return values[0] is not True
        case "null":
            return values[0] is None
        case "when":
            return values[1] if values[0] is True else values[2]
        case "coalesce":
            return next((value for value in values if value is not None), None)
    if any(value is None for value in values):
        return None
    return _applied(part.operator, *values)


def _applied(operator: str, first: Any, *rest: Any) -> Any:
    match operator:
        case "in":
            return first in rest
        case "length":
            return len(first)
        case "words":
            return sum(1 for piece in first.split(" ") if piece)
        case "matches":
            return re.search(rest[0], first.lower()) is not None
        case "hour":
            return first.hour
        case "weekday":
            return first.weekday()
    (second,) = rest
    match operator:
        case "==":
            return first == second
        case "!=":
            return first != second
        case "<":
            return first < second
        case "<=":
            return first <= second
        case ">":
            return first > second
        case ">=":
            return first >= second
        case "+":
            return first + second
        case "-":
            return first - second
        case "*":
            return first * second
        case "/":
            return float(first) / float(second) if second else None
        case _:
            raise AssertionError(f"the oracle does not know {operator}")

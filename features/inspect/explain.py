"""A value with the facts that went into it: of one entity and moment, as known then; nothing has to be built for it.

``rapport feature try`` shows it to the author of a feature, and lineage finds the files behind a value with it. The
values are those of ``historical.py``; the facts are chosen by the conditions of ``contributions.py``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import pyarrow as pa
from ibis import _
from ibis.expr.types import Table

from features.compute import group_facts, historical
from features.compute.as_known import KNOWN_DAY, versions
from features.compute.bands import POSITION
from features.compute.contributions import COUNTS, counts, measured_behind, start
from features.compute.group_facts import ENTITY
from features.compute.silver import known_since, links_table, silver_of
from features.compute.windowing import micros
from features.declare.group import Group
from features.declare.measure import Measure
from infra.clock import cutoff, parse_duration
from infra.engine.engine import Engine, cutter
from infra.workspace import Workspace
from rapport_feast.errors import Rejected

SUGGESTIONS = 3


@dataclass(frozen=True)
class Moment:
    """The end of the windows, and until when a fact had to be known to count."""

    at: datetime
    known_by: datetime

    @classmethod
    def of(cls, group: Group, at: datetime, *, night: bool = False) -> "Moment":
        """Return a moment as a group sees it: of a live group less its lag, of the night's values at its cutoff."""
        if night:
            return cls(cutoff(at.date()), cutoff(at.date()))
        return cls(at, at - parse_duration(group.live_lag) if group.served == "live" else at)

    @property
    def at_us(self) -> int:
        """The end of the windows in microseconds."""
        return micros(self.at)

    @property
    def known_us(self) -> int:
        """Until when facts had to be known, in microseconds."""
        return micros(self.known_by)


@dataclass(frozen=True)
class Explanation:
    """An entity's values at a moment, and the facts behind them, newest first.

    Attributes
    ----------
    values
        Feature = value, none where it has none.
    facts
        ``event_id``, ``event_time``, ``known_at``, ``source``, ``file``, ``position``, the columns that the group
        reads, the ``windows`` that the fact lies in and the ``features`` that count it.
    """

    entity: str
    values: Mapping[str, Any]
    facts: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class ExplainQuery:
    """A group, or one feature of it, at a moment.

    Attributes
    ----------
    features
        The features asked for, all of the group's by default.
    """

    ws: Workspace
    engine: Engine
    group: Group
    moment: Moment
    features: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The features asked for."""
        return self.features or tuple(feature.name for feature in self.group.outputs)

    @cached_property
    def measured(self) -> dict[str, tuple[Measure, str]]:
        """The measured features that those asked for are made of."""
        return measured_behind(self.group, self.names)

    @cached_property
    def starts(self) -> dict[str, int]:
        """Window = its first microsecond, not inside."""
        return {window: start(self.group, self.moment.at_us, window) for _, window in self.measured.values()}

    @cached_property
    def rows(self) -> Table:
        """The facts that any of the windows sees, as known then, with a column per measure: whether it counts them."""
        prepared = self._prepared(min(self.starts.values()))
        visible = prepared.filter(
            _.event_us > min(self.starts.values()),
            _.event_us <= self.moment.at_us,
            _.known_from <= self.moment.known_us,
            _.known_until > self.moment.known_us,
        )
        measures = {measure.name: measure for measure, _window in self.measured.values()}
        counted = {f"{COUNTS}{name}": counts(measure, visible) for name, measure in measures.items()}
        return self.engine.materialise("explained", visible.mutate(**counted))

    def busiest(self, most: int) -> list[str]:
        """Return the entities with most facts."""
        counted = self.rows.group_by(ENTITY).agg(facts=_.count()).order_by([_.facts.desc(), ENTITY]).limit(most)
        return [str(entity) for entity in self.engine.to_arrow(counted)[ENTITY].to_pylist()]

    def explanations(self, entities: Sequence[str]) -> list[Explanation]:
        """Return the values of some entities, each with its facts."""
        facts = self._facts(entities)
        values = self._values(entities)
        return [Explanation(entity, values[entity], facts.get(entity, [])) for entity in entities]

    def refuse_unknown(self, entity: str) -> None:
        """Refuse an entity of which no fact was ever known, with those that are written alike.

        Raises
        ------
        Rejected
            There is no such entity.
        """
        every = self._prepared(None)
        known = every.filter(_.known_from <= self.moment.known_us)
        if len(self.engine.to_arrow(known.filter(known.entity == entity).select(ENTITY).limit(1))):
            return
        others = self.engine.to_arrow(known.select(ENTITY).distinct().order_by(ENTITY))[ENTITY].to_pylist()
        raise Rejected(
            f"{self.group.entity.name}",
            f"one with a fact in {self.group.fact} known by {self.moment.known_by:%Y-%m-%d %H:%M:%S} UTC",
            repr(entity),
            did_you_mean(entity, others),
        )

    def _prepared(self, since_us: int | None) -> Table:
        """Return the facts of the group that count, with their entity and the time in which they were known."""
        last = self.moment.known_by.astimezone(UTC).date()
        silver = silver_of(self.ws, self.engine, self.group, last)
        if since_us is not None:
            silver = known_since(silver, since_us)
        links = links_table(self.ws, self.engine, self.group, last)
        known = None if links is None else versions(links, self.engine.micros)
        facts = versions(silver, self.engine.micros)
        return group_facts.prepare(self.group, self.ws.company, facts, known, cutter(self.engine))

    def _facts(self, entities: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        wanted = self.engine.memtable("wanted", pa.table({ENTITY: pa.array(entities, pa.string())}))
        rows = self.rows.semi_join(wanted, ENTITY).order_by([_.event_us.desc(), _.event_id])
        found: dict[str, list[dict[str, Any]]] = {entity: [] for entity in entities}
        for row in self.engine.to_arrow(rows).to_pylist():
            windows = [window for window, begin in self.starts.items() if row["event_us"] > begin]
            features = [
                name for name, (m, window) in self.measured.items() if row[COUNTS + m.name] and window in windows
            ]
            # Of a whole group everything in its windows is shown; of a feature only what it counts.
            if features or not self.features:
                found[row[ENTITY]].append(self._fact_columns(row) | {"windows": windows, "features": features})
        return found

    def _fact_columns(self, row: Mapping[str, Any]) -> dict[str, Any]:
        columns = {"event_id": row["event_id"], "event_time": row["event_time"], "known_at": row["ingested_at"]}
        columns |= {name: row[name] for name in ("source", "file", "position", KNOWN_DAY)}
        return columns | {name: row[name] for name in sorted(self.group.columns - columns.keys())}

    def _values(self, entities: Sequence[str]) -> dict[str, dict[str, Any]]:
        stamp = pa.timestamp("us", "UTC")
        spine = pa.table(
            {
                self.group.entity.key: pa.array(entities, pa.string()),
                historical.TIME: pa.array([self.moment.at] * len(entities), stamp),
                historical.KNOWN: pa.array([self.moment.known_by] * len(entities), stamp),
                POSITION: pa.array(range(len(entities)), pa.int64()),
            }
        )
        rows = historical.compute(self.ws, self.engine, self.group, spine).to_pylist()
        return {entities[row[POSITION]]: {name: row[name] for name in self.names} for row in rows}


def parse_moment(text: str) -> datetime:
    """Read a night, for its cutoff, or a moment in ISO 8601; one without a zone is UTC.

    Raises
    ------
    Rejected
        It is neither.

    Examples
    --------
    >>> parse_moment("2026-11-20").isoformat(), parse_moment("2026-11-20T13:05").isoformat()
    ('2026-11-20T23:59:59.999999+00:00', '2026-11-20T13:05:00+00:00')
    """
    try:
        return cutoff(date.fromisoformat(text))
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Rejected("--at", "a night as YYYY-MM-DD or a moment in ISO 8601", repr(text)) from None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def did_you_mean(name: str, others: Iterable[str]) -> str:
    """Return a sentence with the names that are written like one; empty where there are none."""
    near = get_close_matches(name, list(others), n=SUGGESTIONS)
    return f"Did you mean {' or '.join(near)}?" if near else ""

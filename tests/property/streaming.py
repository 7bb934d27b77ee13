"""The stream against the oracle: a history's first nights from the lake, the rest of it as it would have come."""

import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from features.compute import build, tables
from features.compute.evaluate import evaluate
from features.compute.identity import LINKS
from features.declare.group import Group
from features.declare.terms import Col, Expression
from features.stream.group_tables import LiveValues
from features.stream.live_values import elapsed_states
from features.stream.local_store import LocalStore
from infra.clock import Nights, cutoff, parse_duration, start_of
from infra.engine.engine import Engine
from infra.lake.commit import Commit
from infra.workspace import Workspace
from rapport_feast.row.layout import FOREVER_US
from rapport_feast.times import DAY, MICROSECOND
from tests.property.agreement import compare
from tests.property.oracle import CAST, Oracle, Values
from tests.property.specs import ARROW, COMMON, COMPANY, History, write_silver
from validation.contracts.standard import CONTRACTS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LOOKS = 8
Row = dict[str, Any]


def check_stream(ws: Workspace, engine: Engine, group: Group, history: History) -> int:
    """Compare what the stream last published of every entity with the oracle, at moments of log time.

    No value is computed anew: what no fact, link or departure touched must still be true. Returns how many of the
    values compared were other than those of the night on which the stream began.
    """
    gated = [(_gated(case.facts), _gated(case.links)) for case in history.cases]
    write_silver(ws, group.fact, [row for facts, _ in gated for row in facts])
    if group.entity.linked:
        write_silver(ws, LINKS, [row for _, links in gated for row in links])
    night = [*history.nights][len(history.nights) // 2]
    nights = Nights(history.nights.first, night)
    ws.lake.replace(tables.tiles_table(group), build.compute(ws, engine, group, nights).tiles, Commit(nights))
    oracles = [Oracle(group, facts, links, COMPANY.identity) for facts, links in gated]
    keys = sorted({(case, key) for case, key, _ in history.spine})
    store = LocalStore(ws, [group], night)
    online: dict[str, Row] = {}
    try:
        _publish(group, store.all_values(), online, _us(cutoff(night)))
        changed, before = 0, cutoff(night)
        begun = {key: oracles[case].live(key, before, before) for case, key in keys}
        for moment in _moments(history, night, group):
            store.insert({group.fact: _between([c.facts for c in history.cases], group.fact, before, moment)})
            if group.entity.linked:
                store.insert({LINKS: _between([c.links for c in history.cases], LINKS, before, moment)})
            _publish(group, store.advance(_us(moment)), online, _us(moment))
            for case, key in keys:
                truth = oracles[case].live(key, moment, moment)
                found = read(group, online.get(key), moment)
                compare(group, history, f"{key} at {moment.isoformat()} (stream since {night})", key, found, truth)
                changed += truth != begun[key]
            before = moment
        again = {row: dict(values) for row, values in online.items()}
        _publish(group, store.all_values(), online, _us(before))
        assert again == online, "what is computed once more is another row"
        return changed
    finally:
        store.close()


def read(group: Group, row: Mapping[str, Any] | None, at: datetime) -> Values:
    """Return what a reader makes of a row: what elapses is finished now, and so is what is derived from it."""
    elapsing, found = set(elapsed_states(group)), dict(row["values"]) if row else {}
    dtypes = {feature.name: feature.dtype for feature in group.outputs}
    for name, (measure, _window) in group.measured.items():
        value = found.get(name)
        if row is None:
            found[name] = measure.empty_value
        elif name in elapsing:
            found[name] = measure.empty_value if value is None else (_us(at) - value) // 1_000_000
        if found[name] is not None:
            found[name] = CAST[dtypes[name]](found[name])
    for one in group.ordered:
        if row is None or _names(one.value) & elapsing:
            elapsing.add(one.name)
            value = evaluate(one.value, found)
            value = one.empty if value is None else value
            found[one.name] = None if value is None else CAST[dtypes[one.name]](value)
    return {feature.name: found[feature.name] for feature in group.outputs}


def _publish(group: Group, computed: Iterable[LiveValues], online: dict[str, Row], log_us: int) -> None:
    """Keep rows as the online store does, and hold each to the rules of its times."""
    for one in computed:
        rows = one.values.to_pylist()
        for place, entity in enumerate(one.ids.to_pylist()):
            event_us, known_us = int(one.event_us[place]), int(one.known_us[place])
            until = int(one.valid_until_us[place])
            assert event_us <= log_us < until <= FOREVER_US, (entity, event_us, log_us, until)
            assert known_us <= log_us, entity
            held = online.get(entity)
            if held is None or known_us > held["known_us"]:
                online[entity] = {"event_us": event_us, "known_us": known_us, "until": until, "values": rows[place]}
            else:
                other = {name for name, value in rows[place].items() if held["values"][name] != value}
                assert known_us == held["known_us"], f"{entity}: known {held['known_us'] - known_us} us earlier"
                assert not other, f"{entity}: {other} are others, as old ({log_us - known_us} us)"


def _moments(history: History, night: date, group: Group) -> list[datetime]:
    """Return moments of log time: arrivals, departures and borders of hops, to the microsecond, and others."""
    chance = random.Random(history.seeds[0])
    rows = [row for case in history.cases for row in case.facts]
    windows = [parse_duration(window) for measure in group.measures for window in measure.windows]
    found: set[datetime] = set()
    while len(found) < LOOKS:
        row = chance.choice(rows)
        at = chance.choice(
            [
                row["ingested_at"],
                row["event_time"] + chance.choice(windows),
                start_of(row["ingested_at"].date()) + chance.choice([timedelta(0), timedelta(hours=6), DAY]),
                row["ingested_at"] + timedelta(minutes=chance.randrange(5000)),
            ]
        )
        at += chance.choice([-1, 0, 1]) * MICROSECOND
        if cutoff(night) < at <= cutoff(history.nights.last) + 2 * DAY:
            found.add(at)
    return sorted(found)


def _gated(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that the gate lets in: what says the same as one that came before is a duplicate."""
    seen, kept = set(), []
    for row in sorted(rows, key=lambda r: (r["ingested_at"], r["file"], r["position"])):
        content = tuple((k, v) for k, v in row.items() if k not in {"ingested_at", "file", "position"})
        if content not in seen:
            seen.add(content)
            kept.append(row)
    return kept


def _between(cases: Sequence[Sequence[Row]], fact: str, after: datetime, until: datetime) -> pa.Table:
    """Return the rows that became known in a span, duplicates among them, in some order."""
    rows = [row for case in cases for row in case if after < row["ingested_at"] <= until]
    random.Random(len(rows)).shuffle(rows)
    columns = {column.name: ARROW[column.type] for column in CONTRACTS[fact].columns}
    return pa.Table.from_pylist(rows, pa.schema({**COMMON, **columns}))


def _names(term: Any) -> set[str]:
    if isinstance(term, Col):
        return {term.name}
    return set().union(*map(_names, term.operands)) if isinstance(term, Expression) else set()


def _us(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND

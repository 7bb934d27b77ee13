"""What the compiler says against what the oracle says, with a case to look at where they differ."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa

from features.compute import build, historical, tables
from features.declare.group import Group
from infra.clock import Nights
from infra.engine.engine import Engine
from infra.lake.commit import Commit
from infra.workspace import Workspace
from tests.property.oracle import Oracle, Values
from tests.property.specs import COMPANY, STAMP, History

PLANS: tuple[historical.Plan, ...] = ("rows", "cells")
Digests = tuple[dict[date, str], dict[date, str]]


@dataclass(frozen=True)
class Answers:
    """What the oracle says of a history: values by night and entity, and by position of the spine."""

    nights: dict[str, dict[str, Values]]
    live: list[Values]


def ask_oracle(group: Group, history: History) -> Answers:
    """Ask the oracle about every case by itself."""
    oracles = [Oracle(group, case.facts, case.links, COMPANY.identity) for case in history.cases]
    nights: dict[str, dict[str, Values]] = {str(night): {} for night in history.nights}
    for night in history.nights:
        for oracle in oracles:
            nights[str(night)] |= oracle.night(night)
    return Answers(nights, [oracles[case].live(key, at) for case, key, at in history.spine])


def check_nights(group: Group, history: History, answers: Answers, rows: pa.Table) -> None:
    """Compare a nightly table with the oracle: the same entities every night, and the same values."""
    names = [feature.name for feature in group.outputs]
    found: dict[str, dict[str, Values]] = {str(night): {} for night in history.nights}
    for row in rows.select(["night", group.entity.key, *names]).to_pylist():
        found[str(row.pop("night"))][row.pop(group.entity.key)] = row
    for night, expected in answers.nights.items():
        for entity in sorted(found[night].keys() | expected.keys()):
            compare(group, history, f"night {night}, {entity}", entity, found[night].get(entity), expected.get(entity))


def check_live(
    ws: Workspace, engine: Engine, group: Group, history: History, answers: Answers, plan: historical.Plan | None
) -> None:
    """Compare the values at every moment of the spine with the oracle, by one of the plans."""
    found = live_rows(ws, engine, group, history, plan).to_pylist()
    assert [row.pop("position") for row in found] == list(range(len(answers.live))), "spine rows came or went"
    for row, expected, (_, key, at) in zip(found, answers.live, history.spine, strict=True):
        compare(group, history, f"plan {plan}, {key} at {at.isoformat()}", key, row, expected)


def live_rows(ws: Workspace, engine: Engine, group: Group, history: History, plan: historical.Plan | None) -> pa.Table:
    """Return the values at every moment of the spine, sorted by position."""
    spine = history.spine
    table = pa.table(
        {
            group.entity.key: pa.array([key for _, key, _ in spine], pa.string()),
            "event_time": pa.array([at for _, _, at in spine], STAMP),
            "position": pa.array(range(len(spine)), pa.int64()),
        }
    )
    return historical.compute(ws, engine, group, table, plan)


def one_by_one(ws: Workspace, engine: Engine, group: Group, nights: Nights) -> build.BuiltTables:
    """Build nights one after another, each on the tiles of those before, and leave the tiles in the lake."""
    built = []
    for night in nights:
        owned = Nights(night, night)
        built.append(build.compute(ws, engine, group, owned, whole=False))
        ws.lake.replace(tables.tiles_table(group), built[-1].tiles, Commit(owned))
    return build.BuiltTables(
        pa.concat_tables([one.tiles for one in built]), pa.concat_tables([one.features for one in built])
    )


def digests(ws: Workspace, built: build.BuiltTables, nights: Nights | None = None) -> Digests:
    """Return the digests of both tables, or of some nights of them."""
    tiles, features = (ws.lake.digest_rows(table) for table in (built.tiles, built.features))
    kept = set(nights or tiles.keys() | features.keys())
    return {night: tiles[night] for night in tiles.keys() & kept}, {n: features[n] for n in features.keys() & kept}


def compare(
    group: Group,
    history: History,
    place: str,
    entity: str,
    found: Mapping[str, Any] | None,
    expected: Mapping[str, Any] | None,
) -> None:
    """Compare what was found of an entity at some place with what the oracle says; show the case where they differ."""
    if found == expected:
        return
    if found is None or expected is None:
        sentence = f"{place}: the {'oracle' if found is None else 'compiler'} alone has a row"
    else:
        name = next(name for name in expected if found[name] != expected[name])
        sentence = f"{place}, {name}: {found[name]!r} instead of {expected[name]!r}"
    raise AssertionError(f"{sentence}\n{_shown(group)}\n{_case(history, entity)}")


def _shown(group: Group) -> str:
    parts = [f"fact {group.fact}, entity {group.entity.name}, hop {group.hop}, lag {group.live_lag}"]
    parts += [f"where {group.where}", *map(str, group.measures), *map(str, group.derived)]
    return "\n".join(parts)


def _case(history: History, entity: str) -> str:
    case = next(case for case in history.cases if f"{case.number:02}." in entity)
    order = [
        sorted(rows, key=lambda r: (r["ingested_at"], r["file"], r["position"])) for rows in (case.facts, case.links)
    ]
    rows = [" ".join(f"{name}={_text(value)}" for name, value in row.items()) for part in order for row in part]
    return "\n".join([f"case {case.number} (seed {case.seed}) of nights {history.nights}", *rows])


def _text(value: Any) -> str:
    return str(value) if hasattr(value, "tzinfo") else repr(value)

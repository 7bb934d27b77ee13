"""The builder: silver facts become day tiles and nightly feature tables, a night's partition at a time.

Comes after the gate, before publishing. The first run builds the whole history in one query per group (rule T6);
each later night owns its own partition of both tables and replaces it whole (rule T5).
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from ibis.expr.types import Table

from features.catalogue import groups_of
from features.compute import nightly, outputs
from features.compute.as_known import KNOWN_DAY
from features.compute.identity import LINKS
from features.compute.night_reader import NightReader
from features.compute.suite import declared, judge
from features.compute.tables import features_table, tiles_table
from features.compute.windowing import DAY_MICROS, hop_micros
from features.declare.definition import definition
from features.declare.group import Group
from infra.clock import Nights
from infra.engine.engine import Engine
from infra.engine.open import open_engine
from infra.lake.commit import Commit
from infra.lake.lake import NIGHT
from infra.settings import EngineName
from infra.telemetry import Log
from infra.workspace import Workspace
from rapport_feast.times import EPOCH_DAY, day_number

LOG = Log(__name__)

# Rows of silver below which a night reads all of it: to find out what is touched would take longer (0.5 s a group).
READ_WHOLE_BELOW = 200_000


@dataclass(frozen=True)
class BuiltTables:
    """A group's two tables for some nights."""

    tiles: pa.Table
    features: pa.Table


def build(ws: Workspace, night: date, run: str = "", engine: EngineName | None = None) -> dict[str, Any]:
    """Build every group of the company up to a night.

    Parameters
    ----------
    night
        The night; a fresh group builds its whole history, an older night is built again alone.
    run
        Id of the run, kept in the commits.
    engine
        ``duckdb`` or ``spark``; by default that of the settings.

    Returns
    -------
    dict
        Per view: nights owned, rows written, or that nothing had changed.

    Raises
    ------
    Rejected
        A value is beyond what its feature declares; nothing of its group is written.
    """
    name = engine or ws.settings.engine
    todo = [(group, _silver(ws, group, night)) for group in groups_of(ws.company)]
    found: dict[str, Any] = {group.view: {"skipped": True} for group, _ in todo}
    stale = [(g, s) for g, s in todo if not (ws.settings.skip_unchanged and _unchanged(ws, g, night, s, name))]
    if stale:
        with open_engine(ws, name) as opened:
            for group, silver in stale:
                nights = _owned(ws, group, night)
                rows = build_nights(ws, opened, group, nights, run, silver)
                found[group.view] = {"nights": str(nights), "rows": rows}
                LOG.info("built", view=group.view, nights=nights, rows=rows, engine=name)
    return found


def build_nights(
    ws: Workspace, engine: Engine, group: Group, nights: Nights, run: str = "", silver: Mapping[str, str] | None = None
) -> int:
    """Compute and commit nights of a group; return the rows of its feature table.

    The tiles are first: the commit of the features is what closes the nights.

    Parameters
    ----------
    silver
        Digest of each fact by the last of the nights, where it is known already.

    Raises
    ------
    Rejected
        A value is beyond what its feature declares; nothing is written.
    """
    silver, begun = silver or _silver(ws, group, nights.last), time.perf_counter()
    built = compute(ws, engine, group, nights)
    notes = {
        "engine": engine.name,
        "seconds": round(time.perf_counter() - begun, 3),
        "suite": judge(group, built.features),
        "silver": silver,
        "definition": definition(group),
    }
    commit = Commit(nights, _inputs(ws, group, silver, engine.name), run, notes)
    ws.lake.replace(tiles_table(group), built.tiles, commit)
    ws.lake.replace(features_table(group), built.features, commit)
    return int(built.features.num_rows)


def compute(ws: Workspace, engine: Engine, group: Group, nights: Nights, *, whole: bool | None = None) -> BuiltTables:
    """Return a group's tiles and features of some nights, without writing them.

    Reads the group's own tiles from before the first night, the facts of the nights, and older facts only of the tiles
    that those touch. Where there are no tiles yet it reads all of silver; also where silver is so small that finding
    out what to read would take longer.

    Parameters
    ----------
    whole
        Whether to read all of silver, whatever its size.
    """
    older = _older_tiles(ws, engine, group, nights)
    if whole is None:
        whole = (
            ws.lake.rows(f"silver/{group.fact}", Nights(EPOCH_DAY, nights.last), partition=KNOWN_DAY) < READ_WHOLE_BELOW
        )
    rows = NightReader(ws, engine, group, nights).rows(whole=whole or older is None)
    fresh = engine.to_arrow(nightly.tiles(group, rows, nights))
    known = engine.memtable("fresh", fresh)
    if older is not None:
        known = known.union(older.select(fresh.schema.names))
    shown = engine.materialise("shown", nightly.active(group, known, nights))
    return BuiltTables(
        dated(fresh, fresh.schema.names), _stamped(group, engine.to_arrow(nightly.values(group, shown, rows, nights)))
    )


def _older_tiles(ws: Workspace, engine: Engine, group: Group, nights: Nights) -> Table | None:
    before = nights.first - timedelta(days=1)
    files = ws.lake.files(tiles_table(group), Nights(EPOCH_DAY, before))
    if not files:
        return None
    older = engine.table("older", files, ws.lake.schema(tiles_table(group)), ws.lake.path(tiles_table(group)))
    # A tile that left the longest window before the first night cannot matter any more.
    horizon = (day_number(nights.first) - group.longest.days - 1) * DAY_MICROS // hop_micros(group)
    return older.filter(older.night <= before, older.tile >= horizon)


def _owned(ws: Workspace, group: Group, night: date) -> Nights:
    newest = ws.lake.newest(features_table(group))
    if newest is None:
        return Nights(ws.lake.oldest(f"silver/{group.fact}") or night, night)
    return Nights(newest + timedelta(days=1), night) if night > newest else Nights(night, night)


def _silver(ws: Workspace, group: Group, night: date) -> dict[str, str]:
    """Return fact = digest of all that was known of it by a night, of the facts that a group reads."""
    facts = (group.fact, LINKS) if group.entity.linked else (group.fact,)
    known = {fact: ws.lake.checksums(f"silver/{fact}", Nights(EPOCH_DAY, night), partition=KNOWN_DAY) for fact in facts}
    return {fact: _digest([(str(day), digest) for day, digest in one.items()]) for fact, one in known.items() if one}


def _inputs(ws: Workspace, group: Group, silver: Mapping[str, str], engine: str) -> str:
    return _digest([group.view, declared(group), engine, sorted(ws.company.identity.items()), sorted(silver.items())])


def _digest(stated: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(stated).encode()).hexdigest()


def _unchanged(ws: Workspace, group: Group, night: date, silver: Mapping[str, str], engine: str) -> bool:
    inputs = _inputs(ws, group, silver, engine)
    owners = (ws.lake.owner(table(group), night) for table in (tiles_table, features_table))
    return all(owner is not None and owner.inputs == inputs for owner in owners)


def dated(rows: pa.Table, names: list[str]) -> pa.Table:
    """Return rows with their night as a date, sorted, so that equal rows make equal files."""
    night = pc.cast(pc.cast(rows["night_number"], pa.int32()), pa.date32())
    ordered = rows.append_column(NIGHT, night).select([*names, NIGHT])
    return ordered.sort_by([(NIGHT, "ascending"), (names[0], "ascending"), (names[1], "ascending")])


def _stamped(group: Group, rows: pa.Table) -> pa.Table:
    """Return the finalised rows with their times: both are the cutoff of the night (rule T7)."""
    schema = outputs.schema_of(group)
    micros = pc.subtract(pc.multiply(pc.add(rows["night_number"], 1), 86_400_000_000), 1)
    cutoffs = pc.cast(pc.cast(micros, pa.int64()), schema.field("event_time").type)
    night = pc.cast(pc.cast(rows["night_number"], pa.int32()), pa.date32())
    whole = rows.append_column("event_time", cutoffs).append_column("known_at", cutoffs).append_column(NIGHT, night)
    return whole.select(schema.names).cast(schema).sort_by([(NIGHT, "ascending"), (group.entity.key, "ascending")])

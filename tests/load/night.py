"""A night over a long history: 50 million events, 5,000 customers; tonight 100,000 new ones, 5 % of them late.

The peer is the full build of the same night: every fact of the history, and no tile.
"""

import dataclasses
import sys
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from features.compute import historical, nightly
from features.compute.build import compute, dated
from features.compute.night_reader import NightReader
from features.compute.tables import tiles_table
from infra.clock import Nights
from infra.engine.open import open_engine
from infra.lake.commit import Commit
from infra.workspace import Workspace
from tests.load import events as made
from tests.load.bench import Entry, timed

HISTORY, TONIGHT, CUSTOMERS = 50_000_000, 100_000, 5_000
DAYS = HISTORY // TONIGHT
# The same group at a cutoff: what is known by then counts.
AT_CUTOFF = dataclasses.replace(made.GROUP, live_lag="0s")
CHUNK = timedelta(days=50)


def run(folder: Path) -> list[Entry]:
    """Return the figure, once both ways give the same rows."""
    ws = made.workspace(folder / "night")
    night = made.FIRST + timedelta(days=DAYS)
    print(f"writing {HISTORY:,} events and a night of {TONIGHT:,}", file=sys.stderr)
    made.write(ws, made.Events(HISTORY + TONIGHT, CUSTOMERS), DAYS + 1)
    write_tiles(ws, Nights(made.FIRST, night - timedelta(days=1)))
    tonight = Nights(night, night)
    built = incremental(ws, tonight)
    spine = pa.table(
        {
            "customer_id": built["customer_id"],
            "event_time": built["event_time"],
            "position": pa.array(range(len(built)), pa.int64()),
        }
    )
    names = [feature.name for feature in made.GROUP.outputs]
    if not built.select(names).equals(historical.historical(ws, AT_CUTOFF, spine).select(names)):
        raise SystemExit("night: both ways differ, so their times say nothing")
    return [
        timed(
            "night: 100,000 new events beside the full build",
            lambda: incremental(ws, tonight),
            lambda: historical.historical(ws, AT_CUTOFF, spine),
            bar=0.5,
            pairs=2,
        )
    ]


def incremental(ws: Workspace, nights: Nights) -> pa.Table:
    """Return the night's features from its facts, the tiles, and what late facts touch."""
    with open_engine(ws) as engine:
        return compute(ws, engine, made.GROUP, nights).features


def write_tiles(ws: Workspace, nights: Nights) -> None:
    """Write the tiles of a history, some weeks at a time; its feature tables are not needed here."""
    first = nights.first
    while first <= nights.last:
        some = Nights(first, min(first + CHUNK - timedelta(days=1), nights.last))
        print(f"tiles of {some}", file=sys.stderr)
        with open_engine(ws) as engine:
            rows = NightReader(ws, engine, made.GROUP, some).rows(whole=first == nights.first)
            tiles = engine.to_arrow(nightly.tiles(made.GROUP, rows, some))
        ws.lake.replace(tiles_table(made.GROUP), dated(tiles, tiles.schema.names), Commit(some))
        first = some.last + timedelta(days=1)

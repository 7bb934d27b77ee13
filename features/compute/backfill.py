"""The history of one group, chunk by chunk: what a new or changed feature needs before it serves.

Beside ``build.py``, whose nightly step would build the same history in one pass. Each chunk is a commit that owns its
nights, so a back-fill that was killed goes on behind the last one, and the next nightly run behind all of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from features.catalogue import groups_of
from features.compute.build import build_nights
from features.compute.tables import features_table
from features.declare.group import Group
from infra.clock import Nights
from infra.engine.open import open_engine
from infra.settings import EngineName
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from rapport_feast.times import DAY

CHUNK = 30


@dataclass(frozen=True)
class ChunkDone:
    """A chunk that is done: its nights, the rows of its feature table, and how many nights are left."""

    nights: Nights
    rows: int
    left: int


def missing_nights(ws: Workspace, group: Group) -> Nights | None:
    """Return the nights that a group lacks of those that the company's other groups have; none if it lacks none."""
    newest = ws.lake.newest(features_table(group))
    first = newest + DAY if newest else ws.lake.oldest(f"silver/{group.fact}")
    last = _newest_of_others(ws, group)
    return Nights(first, last) if first and last and first <= last else None


def nights_to_build(ws: Workspace, group: Group, first: date | None = None, last: date | None = None) -> Nights | None:
    """Return the nights to build; none if nothing is missing.

    Parameters
    ----------
    first
        Build again from this night on; by default the first that is missing.
    last
        By default the newest night that another group has.

    Raises
    ------
    Rejected
        There are no facts of the nights, or ``first`` leaves a gap: windows read the tiles of the nights before.
    """
    source = f"silver/{group.fact}"
    oldest, newest = ws.lake.oldest(source), ws.lake.newest(source)
    if oldest is None or newest is None:
        raise Rejected(f"group {group.name}", f"facts in {source}", "none", "Run the nightly ring first.")
    built = ws.lake.newest(features_table(group))
    following = built + DAY if built else oldest
    if first is not None and not oldest <= first <= following:
        why = "The windows of a night read the tiles of all nights before it."
        raise Rejected("--from", f"a night from {oldest} to {following}", str(first), why)
    last = last or _newest_of_others(ws, group) or newest
    if last > newest:
        raise Rejected("--to", f"a night up to {newest}, the newest of {source}", str(last))
    first = first or following
    return Nights(first, last) if first <= last else None


def chunks(nights: Nights, length: int = CHUNK) -> Iterator[Nights]:
    """Cut nights into chunks.

    Examples
    --------
    >>> [str(one) for one in chunks(Nights(date(2026, 6, 1), date(2026, 6, 5)), 2)]
    ['2026-06-01..2026-06-02', '2026-06-03..2026-06-04', '2026-06-05']
    """
    for at in range(0, len(nights), length):
        first = nights.first + timedelta(days=at)
        yield Nights(first, min(first + timedelta(days=length - 1), nights.last))


def backfill(
    ws: Workspace,
    group: Group,
    nights: Nights,
    *,
    length: int = CHUNK,
    run: str = "",
    engine: EngineName | None = None,
    on_chunk: Callable[[ChunkDone], object] = lambda step: None,
) -> int:
    """Build nights of a group, chunk by chunk, each whole or not at all; return the rows of its feature table.

    Parameters
    ----------
    length
        Nights of a chunk.
    on_chunk
        Called with every chunk once it is committed.

    Raises
    ------
    Rejected
        A value is beyond what its feature declares; the chunks before it stand.
    """
    total = 0
    with open_engine(ws, engine) as opened:
        for chunk in chunks(nights, length):
            rows = build_nights(ws, opened, group, chunk, run)
            total += rows
            on_chunk(ChunkDone(chunk, rows, (nights.last - chunk.last).days))
    return total


def _newest_of_others(ws: Workspace, group: Group) -> date | None:
    others = (ws.lake.newest(features_table(one)) for one in groups_of(ws.company) if one.view != group.view)
    return max(filter(None, others), default=None)

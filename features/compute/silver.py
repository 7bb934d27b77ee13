"""Silver as an engine reads it: columns of a fact, and identity links, known by a night."""

from datetime import date, timedelta

from ibis.expr.types import Table

from features.compute.as_known import KNOWN_DAY, SILVER_COLUMNS
from features.compute.identity import LINKS
from features.compute.windowing import DAY_MICROS
from features.declare.group import Group
from infra.clock import Nights
from infra.engine.engine import Engine
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from rapport_feast.times import EPOCH_DAY

LINK_COLUMNS = ("source_id", "kind", "customer", "backwards")


def links_table(ws: Workspace, engine: Engine, group: Group, last: date) -> Table | None:
    """Return the identity links known by a night; none if the group's entity has none or no source tells any."""
    if not group.entity.linked or not ws.lake.exists(f"silver/{LINKS}"):
        return None
    return silver_table(ws, engine, LINKS, {*SILVER_COLUMNS, *LINK_COLUMNS}, last)


def silver_table(ws: Workspace, engine: Engine, fact: str, columns: set[str], last: date) -> Table:
    """Return columns of a fact's silver up to a night as a table of an engine.

    Raises
    ------
    Rejected
        The fact was never written.
    """
    table = f"silver/{fact}"
    if not ws.lake.exists(table):
        raise Rejected(f"table {table}", "facts that the gate let in", "none", "Run the gate of the night first.")
    files = ws.lake.files(table, Nights(EPOCH_DAY, last), partition=KNOWN_DAY)
    silver = engine.table(f"silver_{fact}", files, ws.lake.schema(table), ws.lake.path(table))
    return silver.filter(silver[KNOWN_DAY] <= last).select(sorted(columns))


# Where a fact came from, beside what the group reads.
PROVENANCE = ("source", "source_id")


def silver_of(ws: Workspace, engine: Engine, group: Group, last: date) -> Table:
    """Return the silver rows of a group's fact with what the group reads and where they came from."""
    columns = {*SILVER_COLUMNS, *PROVENANCE, group.entity.column_in(group.fact), *group.columns}
    return silver_table(ws, engine, group.fact, columns, last)


def known_since(silver: Table, start_us: int, oldest: date | None = None) -> Table:
    """Return the rows of silver that may count in windows which start at a moment or later.

    No fact is known before it happened, so what became known before the windows began lies in none of them, unless it
    was revised since. A day of margin covers windows whose start is rounded down to a hop.

    Parameters
    ----------
    start_us
        Start of the earliest window, microseconds.
    oldest
        The oldest day of the table, where it is known: if nothing lies before the horizon, nothing is looked up there.
    """
    horizon = EPOCH_DAY + timedelta(days=max(start_us // DAY_MICROS - 1, 0))
    near = silver.filter(silver[KNOWN_DAY] >= horizon)
    if oldest is not None and oldest >= horizon:
        return near
    far = silver.filter(silver[KNOWN_DAY] < horizon)
    return near.union(far.semi_join(near.filter(near.revises).select("event_id").distinct(), "event_id"))

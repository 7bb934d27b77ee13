"""Sources to bronze: text as it came, stamped once with the moment it became available (rule T1).

Comes after the outside world and ``sources/``; the gate reads what it writes. A closed night is never touched again:
what arrives for it goes to the next one.
"""

import hashlib
import json
from datetime import date

import pyarrow as pa

from infra.clock import Nights, refuse_open_night
from infra.lake.commit import Commit
from infra.telemetry import Log
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from validation.bronze.dead_letters import keep_dead_letters
from validation.bronze.event_log import LoggedRows, drain, refuse_trimmed, rows_per_day
from validation.bronze.plan import Plan, plan
from validation.bronze.stamp import stamped
from validation.sources.arrivals import refuse_missing
from validation.sources.coverage import first_night
from validation.sources.fingerprints import fingerprints

LOG = Log(__name__)


def ingest(ws: Workspace, night: date, run: str = "") -> dict[str, object]:
    """Bring every source up to a night into bronze.

    A fresh company's first run owns all days up to the night, a later one the nights since the last; a night that is
    closed already stays as it is. Either everything could be read, or nothing is written.

    Parameters
    ----------
    ws
        The company's workspace.
    night
        The night to close.
    run
        The run that asks, for the lineage.

    Returns
    -------
    dict
        The night, and per source the nights and rows that were written.

    Raises
    ------
    Rejected
        The night is not over, a source did not arrive or is empty, or a file cannot be read.
    """
    refuse_open_night(night, ws.clock)
    first = first_night(ws)
    if night < first:
        raise Rejected("night", f"a night from {first} on, where the company's data begins", str(night))
    plans = [made for source in ws.company.sources if (made := plan(ws, source, Nights(first, night)))]
    if plans:
        refuse_missing(ws)
    streamed = [made for made in plans if made.source.streamed]
    logged = drain(ws, streamed, Nights(first, night)) if streamed else LoggedRows({})
    rows = [(made, stamped(ws, made, logged.rows)) for made in plans]
    for made, found in rows:
        if made.source.streamed and made.lost:
            refuse_trimmed(ws, made.source, made.lost, found.num_rows)
    keep_dead_letters(ws, logged.dead_letters, run)
    written = {made.source.name: write_bronze(ws, made, found, run) for made, found in rows}
    LOG.info("ingested", night=night, tables=len(written), rows=sum(found.num_rows for _, found in rows))
    return {"night": str(night), "skipped": not plans, "sources": written}


def write_bronze(ws: Workspace, plan: Plan, rows: pa.Table, run: str) -> dict[str, object]:
    """Commit the rows of a source with the fingerprints of the files that they came from."""
    files = fingerprints(plan.files)
    inputs = hashlib.sha256(
        json.dumps([files, plan.source.model_dump(mode="json")], sort_keys=True).encode()
    ).hexdigest()
    nights = Nights(plan.lost, plan.lost) if plan.lost else plan.nights
    # A night that is read again says nothing new about the files.
    notes = {"files": {} if plan.lost else files, "rows": rows.num_rows}
    commit = Commit(nights, inputs, run, notes | ({"days": rows_per_day(rows)} if plan.source.streamed else {}))
    ws.lake.replace(plan.table, rows, commit, partition="known_day")
    return {"nights": str(nights), "rows": rows.num_rows, "files": len(files)}

"""Quarantined events appended to the log once more, after a fix."""

from contextlib import closing
from datetime import date

from infra.clock import Nights
from infra.company.source import LOG
from infra.log.event_log import Entry
from infra.log.open import event_log
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from rapport_feast.times import micros
from validation.bronze.dead_letters import DEAD_LETTERS
from validation.bronze.event_log import PAGE
from validation.door.door import Door
from validation.sources.log import payload_of


def replay(ws: Workspace, source: str, night: date | None = None) -> dict[str, int]:
    """Append to the log once more what quarantine holds of a streamed source and the door would accept by now.

    So it follows a fix: of the company file, of a contract. What goes in is known from now on; what was replayed before
    or came again since is the same event by its id and counts once.

    Parameters
    ----------
    source
        The streamed source; dead letters that named it come along.
    night
        Only what this night set aside; by default all.

    Returns
    -------
    dict
        How many events were appended, and how many rows of quarantine are still refused.

    Raises
    ------
    Rejected
        The company streams no such source.
    Transient
        The log does not answer, or is full.
    """
    facts = {one.name: one.fact for one in ws.company.sources if one.streamed}
    if source not in facts:
        raise Rejected("source", f"a streamed one: {', '.join(facts) or 'the company has none'}", source)
    nights = Nights(night, night) if night else None
    rows = [payload_of(text) for text in quarantined(ws, f"quarantine/{facts[source]}", source, nights)]
    rows += [text.encode() for text in quarantined(ws, DEAD_LETTERS, source, nights)]
    now = micros(ws.clock.now())
    entries = [Entry(place, now, source, payload) for place, payload in enumerate(rows) if payload is not None]
    with closing(Door(ws.company)) as door:
        refused = {entry.position for entry, _ in door.admit(entries).refused}
    events = [entry.payload for entry in entries if entry.position not in refused]
    with event_log(ws) as log:
        for first in range(0, len(events), PAGE):
            log.append(source, events[first : first + PAGE])
    return {"appended": len(events), "left": len(rows) - len(events)}


def quarantined(ws: Workspace, table: str, source: str, nights: Nights | None) -> list[str]:
    """Return the text of what quarantine holds of a source's events in the log."""
    if not ws.lake.exists(table):
        return []
    rows = ws.lake.read(table, nights, partition="known_day").select(["source", "file", "raw"]).to_pylist()
    return [row["raw"] for row in rows if row["source"] == source and row["file"] == LOG]

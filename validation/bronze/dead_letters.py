"""Entries of the log that no source of the company knows: a quarantine of their own."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from infra.clock import Nights, start_of
from infra.company.source import LOG
from infra.lake.commit import Commit
from infra.log.event_log import Entry
from infra.workspace import Workspace
from rapport_feast.times import EPOCH_DAY
from validation.sources.log import KEPT_BYTES, MAX_EVENT_BYTES, UNKNOWN_SOURCE

DEAD_LETTERS = f"quarantine/{LOG}"
DEAD_LETTER = pa.schema(
    [
        *((name, pa.string()) for name in ("source", "file")),
        ("position", pa.int64()),
        ("ingested_at", pa.timestamp("us", "UTC")),
        *((name, pa.string()) for name in ("reason", "raw")),
        ("known_day", pa.date32()),
    ]
)


def as_dead_letters(entries: Sequence[Entry], nights: Nights) -> pa.Table:
    """Return entries of sources that the company does not stream, as rows of quarantine."""
    moments = [datetime.fromtimestamp(0, UTC) + timedelta(microseconds=entry.accepted_us) for entry in entries]
    floor = start_of(nights.first) if len(nights) else start_of(EPOCH_DAY)
    stamps = [max(moment, floor) for moment in moments]
    columns = {
        "source": [entry.source[:KEPT_BYTES] for entry in entries],
        "file": [LOG] * len(entries),
        "position": [entry.position for entry in entries],
        "ingested_at": stamps,
        "reason": [UNKNOWN_SOURCE] * len(entries),
        "raw": [readable(entry.payload) for entry in entries],
        "known_day": [stamp.date() for stamp in stamps],
    }
    return pa.table(columns, DEAD_LETTER)


def readable(payload: bytes) -> str:
    """Return a payload as text, the head of it where it is larger than an event may be."""
    return payload[: MAX_EVENT_BYTES if len(payload) <= MAX_EVENT_BYTES else KEPT_BYTES].decode("utf-8", "replace")


def keep_dead_letters(ws: Workspace, dead_letters: tuple[Nights, pa.Table] | None, run: str) -> None:
    """Commit the dead letters of some nights to a quarantine of their own."""
    if dead_letters is not None:
        nights, rows = dead_letters
        inputs = hashlib.sha256(repr(rows["position"].to_pylist()).encode()).hexdigest()
        ws.lake.replace(DEAD_LETTERS, rows, Commit(nights, inputs, run, {"rows": rows.num_rows}), partition="known_day")

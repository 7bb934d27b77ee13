"""Adapter of the event log: each entry is one JSON object, its keys are the raw columns.

The door judges with it what streams in, and the nightly ingest reads with it the same entries into bronze, so that both
see the same rows. A key that the company file does not map is kept with the others of its kind in ``_rest``: who sends
events must not widen our tables.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from infra.company.source import LOG, Source
from infra.log.event_log import Entry
from rapport_feast.errors import Rejected
from validation.contracts.parse import parsed_sql
from validation.sources.files import MappedFile
from validation.sources.json_text import as_text, record
from validation.sources.protocol import BROKEN, FAULT, mapped_columns

MAX_EVENT_BYTES = 1_000_000
KEPT_BYTES = 4096
"""How much of an entry that is no event is kept, to see what it was."""


TOLERANCE = timedelta(minutes=10)
"""How far ahead of its acceptance an event may be dated, for clocks differ; it is held until then."""


UNKNOWN_SOURCE = "unknown_source"
ACCEPTED, REST = "_accepted", "_rest"
LOG_COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    *((name, pa.string()) for name in (REST, BROKEN, FAULT, ACCEPTED, "_file")),
    ("_position", pa.int64()),
    ("_night", pa.date32()),
)


class Log(MappedFile):
    """Entries of the event log; they stand in no file."""

    def read(self, path: Path) -> NoReturn:
        """Refuse a file.

        Raises
        ------
        Rejected
            Always: ``raw_rows`` reads entries.
        """
        raise Rejected(f"file {path.name}", "entries of the event log", "a file")

    def columns(self, source: Source) -> Mapping[str, str]:
        """Return the columns that the company file states."""
        return mapped_columns(source, {})

    def available(self, source: Source) -> str:
        """Return the moment of acceptance, or that of an event dated a little ahead of it."""
        stated, limit = self.columns(source)["event_time"], f"INTERVAL '{TOLERANCE // timedelta(seconds=1)} seconds'"
        at, accepted = parsed_sql("time", f"({stated})"), parsed_sql("time", ACCEPTED)
        return f"CASE WHEN {at} BETWEEN {accepted} AND {accepted} + {limit} THEN {stated} ELSE {ACCEPTED} END"

    def needs(self, source: Source) -> Sequence[str]:
        """Return nothing: an event that lacks a key is judged by itself."""
        return ()


def raw_rows(source: Source, entries: Sequence[Entry]) -> pa.Table:
    """Return entries of a source as raw rows, every value as text as it came."""
    mapped = tuple(dict.fromkeys(source.columns.values()))
    rows = [raw_row(entry.payload, mapped) for entry in entries]
    columns = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in (*mapped, REST, BROKEN, FAULT)}
    moments = pa.array([entry.accepted_us for entry in entries], pa.int64()).cast(pa.timestamp("us"))
    columns[ACCEPTED] = moments.cast(pa.string())
    columns["_file"] = pa.repeat(pa.scalar(LOG), len(entries))
    columns["_position"] = pa.array([entry.position for entry in entries], pa.int64())
    columns["_night"] = pa.nulls(len(entries), pa.date32())
    return pa.table(columns)


def raw_schema(source: Source) -> pa.Schema:
    """Return the columns of ``raw_rows``."""
    return pa.schema([*((name, pa.string()) for name in dict.fromkeys(source.columns.values())), *LOG_COLUMNS])


def raw_row(payload: bytes, mapped: Sequence[str]) -> dict[str, str | None]:
    """Return the raw columns of one payload; what is no event stands under ``_broken``, with the fault."""
    row: dict[str, Any] | str = "too_large" if len(payload) > MAX_EVENT_BYTES else record(payload)
    if isinstance(row, str):
        return {BROKEN: payload[:KEPT_BYTES].decode("utf-8", "replace"), FAULT: row}
    found = {name: as_text(row.pop(name, None)) for name in mapped}
    return {**found, REST: json.dumps(row)} if row else found


def payload_of(raw_json: str) -> bytes | None:
    """Return the event that a quarantined row was, to be appended once more; None if it was none."""
    row = json.loads(raw_json)
    if row.get(BROKEN) is not None:
        return None
    stated = {name: value for name, value in row.items() if value is not None and name not in (REST, ACCEPTED)}
    return json.dumps(stated | json.loads(row.get(REST) or "{}")).encode()

"""Samples of what the online service answered, as it wrote them beside its answers: what the parity meter judges.

One file a day of serving, one JSON object a line. They come from responses, not from who wrote the values.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from heapq import nsmallest
from pathlib import Path
from typing import Literal
from zlib import crc32

import msgspec

from infra.clock import Nights
from infra.workspace import Workspace

Rung = Literal["live", "nightly"]
Value = bool | int | float | str | None
LIVE = "__live"
# The most rows that one report judges; beyond, those whose request has the smallest checksum stand for the rest.
MOST = 100_000


class Sample(msgspec.Struct, frozen=True):
    """A row of values as it was served.

    Attributes
    ----------
    request, served_us
        The answer and when it was given, microseconds.
    applied_us
        Log time that the answer named: everything accepted by then was applied; none where no stream runs.
    entity, key, id
        Whose values they are.
    view, rung
        The view that they were read from: nightly, or ``<view>__live``.
    event_us, known_us
        Times of the row.
    definition
        Version under which the row was written.
    values
        Feature = value as served.
    """

    request: str
    served_us: int
    applied_us: int | None
    entity: str
    key: str
    id: str
    view: str
    rung: Rung
    event_us: int
    known_us: int
    definition: str
    values: dict[str, Value]

    @property
    def base(self) -> str:
        """Name of the group's view."""
        return self.view.removesuffix(LIVE)

    @property
    def at_us(self) -> int:
        """The end of the windows: a live value is true when it is served, a nightly one at its night's cutoff.

        A live row that was written while the answer was on its way is already of a later moment.
        """
        return max(self.served_us, self.event_us) if self.rung == "live" else self.event_us

    @property
    def knew_us(self) -> int:
        """Until when facts had to be known to count."""
        return max(self.applied_us or 0, self.known_us) if self.rung == "live" else self.event_us


DECODER = msgspec.json.Decoder(Sample)


@dataclass(frozen=True)
class Samples:
    """The samples of some days, and how many lines could not be read."""

    rows: list[Sample]
    read: int
    unreadable: int


def file_of(ws: Workspace, day: date) -> Path:
    """Return where the samples of a day of serving lie."""
    return ws.folder("served") / f"samples-{day}.jsonl"


def forget_samples(ws: Workspace, day: date) -> None:
    """Delete the samples served before a day: by then they were judged, and they say who asked about whom."""
    for file in ws.folder("served").glob("samples-*.jsonl"):
        if file.name < file_of(ws, day).name:
            file.unlink(missing_ok=True)


def read_samples(ws: Workspace, days: Nights) -> Samples:
    """Read the samples served on some days; a line that a crash cut off is counted and left out."""
    counted = [0, 0]
    rows = nsmallest(MOST, _read(ws, days, counted), key=lambda sample: crc32(sample.request.encode()))
    return Samples(rows, *counted)


def _read(ws: Workspace, days: Nights, counted: list[int]) -> Iterator[Sample]:
    for day in days:
        if not (file := file_of(ws, day)).exists():
            continue
        with file.open("rb") as lines:
            for line in lines:
                counted[0] += 1
                try:
                    yield DECODER.decode(line)
                except msgspec.MsgspecError:
                    counted[1] += 1

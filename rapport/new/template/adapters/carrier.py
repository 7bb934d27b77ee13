"""The carrier's list of parcels: one a line, its parts divided by bars; a line of another length is kept whole."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from infra.company.source import Source
from validation.sources.files import MappedFile, text_table
from validation.sources.protocol import BROKEN, mapped_columns

PARTS = ("parcel", "customer", "at", "outcome", "days", "note", "refunded")


class Carrier(MappedFile):
    """Lines such as ``P12|C7|2026-05-03T10:00:00Z|delivered|3||no``."""

    def read(self, path: Path) -> pa.Table:
        """Return the lines as rows of text; what is empty is a missing value."""
        lines = [line.split("|") for line in path.read_text(encoding="utf-8").splitlines()]
        whole = [line if len(line) == len(PARTS) else [""] * len(PARTS) for line in lines]
        columns = {name: [line[place] or None for line in whole] for place, name in enumerate(PARTS)}
        broken = [None if len(line) == len(PARTS) else "|".join(line) for line in lines]
        return text_table({**columns, BROKEN: broken})

    def columns(self, source: Source) -> Mapping[str, str]:
        """Return column of the fact = SQL over the parts."""
        own = {name: name for name in ("outcome", "days", "note", "refunded")}
        return mapped_columns(
            source, own | {"event_id": "parcel", "parcel_id": "parcel", "source_id": "customer", "event_time": '"at"'}
        )


ADAPTER = Carrier()

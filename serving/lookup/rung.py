"""One rung that is read: whether its row may be used, and if not, in one word why not."""

from typing import Literal

from features.declare.catalogue import Catalogue
from rapport_feast.row.layout import Row
from serving.lookup.elapsed import elapsed_at_read
from serving.lookup.views import View
from serving.lookup.writer_status import WriterStatus
from serving.timestamps import SECOND_US

MAX_ROW_BYTES = 1 << 20


class StoredRung:
    """A rung that is read.

    Parameters
    ----------
    view
        The view of the rung.
    place
        Where its row stands in the reply of the store.
    catalogue
        What the company declares by now.
    """

    def __init__(self, view: View, place: int, catalogue: Catalogue) -> None:
        self.view = view.name
        self.rung: Literal["live", "nightly"] = view.served
        self.packing = view.packing
        self.place = place
        self.limit_us = view.freshness_seconds * SECOND_US
        self.finish, self.known = elapsed_at_read(view, catalogue)

    def read(self, raw: bytes | None, now_us: int, writers: WriterStatus) -> Row | str:
        """Return the row, or in one word why it is not taken."""
        if raw is None:
            return "not_found"
        if len(raw) > MAX_ROW_BYTES:
            return "too_big"
        try:
            row = self.packing.unpack(raw)
        except ValueError:
            return "unreadable"
        if row.definition != self.packing.definition or not self.known:
            return "definition"
        if self.limit_us and self.age_us(row, now_us, writers) > self.limit_us:
            return "stale"
        return "expired" if row.valid_until_us <= now_us else row

    def age_us(self, row: Row, now_us: int, writers: WriterStatus) -> int:
        """Return how far behind the writer of the row is (rule T9): not how long ago the customer did something."""
        if self.rung == "live":
            return now_us - max(writers.applied_us or 0, row.known_us)
        return now_us - max(writers.cutoff_us, row.event_us)

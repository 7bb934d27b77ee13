"""Publishing live values: rows written online as they were computed, none twice and none lost (law 2).

Comes after the local store, which computes them, and is driven by ``runner.py``.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import redis

from features.declare.group import Group
from features.stream.group_tables import LiveValues
from features.stream.metrics import StreamMetrics
from infra.workspace import Workspace
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.encoding import ViewForm
from rapport_feast.row.keys import row_field, stream_key
from rapport_feast.row.layout import Packing, Row
from rapport_feast.row.writer import RowWriter


class Publisher:
    """The writer of a company's live rows, with those that are not written yet.

    Parameters
    ----------
    ws, online
        The company's workspace and its online store.
    groups
        Live groups.
    metrics
        Where rows are counted.
    """

    def __init__(self, ws: Workspace, online: OnlineStore, groups: Sequence[Group], metrics: StreamMetrics) -> None:
        self.online, self.metrics = online, metrics
        # A night may bring facts older than what a row holds already: then it is another row of the same moment.
        self._writer = RowWriter(online, replace=True)
        self._forms = {group.name: form_of(ws, group) for group in groups}
        self._pending: list[LiveValues] = []

    def close(self) -> None:
        """Close the connection; the next write opens another one."""
        self._writer.close()

    def replace_pending(self, values: Iterable[LiveValues]) -> None:
        """Take values to be written, in the place of those that are not written yet."""
        self._pending = list(values)

    def flush(self) -> int:
        """Write what is pending; return the rows written. What fails stays pending.

        Raises
        ------
        Transient
            The online store does not answer.
        """
        rows = 0
        while self._pending:
            rows += self._write(self._pending[0])
            del self._pending[0]
        return rows

    def heartbeat(self, applied_us: int, position: int) -> None:
        """Say online up to which log time, microseconds, and which position of the log everything is published."""
        self._writer.heartbeat(applied_us, position)

    def is_filled(self) -> bool:
        """Return whether our heartbeat is still there: a store that was restarted empty has none."""
        with self._client() as client:
            return bool(client.exists(stream_key(self.online.project)))

    def _write(self, values: LiveValues) -> int:
        form, view = self._forms[values.group.name], values.group.live_view
        times = (values.event_us, values.known_us, values.valid_until_us)
        written = self._writer.write(form, values.ids, values.values, *times, shown=values.shown)
        if len(written.refused):
            written.accepted += self._write_at_online_time(form, values, written.refused)
        self.metrics.rows.labels(view).inc(written.accepted)
        self.metrics.kept_out.labels(view).inc(len(values.ids) - written.accepted)
        return written.accepted

    def _write_at_online_time(self, form: ViewForm, values: LiveValues, places: Iterable[int]) -> int:
        """Write refused rows with the event time that is online.

        The t of an entity never falls, so a row whose last event was withdrawn would be refused for ever by the row
        that still counts it.
        """
        online = self._online_rows(form, values, places)
        later = {
            place: row.event_us for place, row in online.items()
            if row is not None and row.known_us < values.known_us[place] and row.event_us > values.event_us[place]
        }  # fmt: skip
        if not later:
            return 0
        chosen = list(later)
        written = self._writer.write(
            form,
            values.ids.take(chosen),
            values.values.take(chosen),
            np.array([later[place] for place in chosen]),
            values.known_us[chosen],
            values.valid_until_us[chosen],
            shown=values.shown.take(chosen),
        )
        return written.accepted

    def _online_rows(self, form: ViewForm, values: LiveValues, places: Iterable[int]) -> dict[int, Row | None]:
        """Return the rows that are online, by their place among the values."""
        places = list(places)
        keys = form.keys(values.ids.take(places)).to_pylist()
        with self._client() as client:
            packed: list[Any] = [client.hget(key, row_field(form.view)) for key in keys]
        return {place: form.packing.unpack(row) if row else None for place, row in zip(places, packed, strict=True)}

    @contextmanager
    def _client(self) -> Iterator[Any]:
        try:
            with self.online.client(retries=0) as client:
                yield client
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise self.online.silent(error) from error


def form_of(ws: Workspace, group: Group) -> ViewForm:
    """Return how the live rows of a group stand online."""
    dtypes = {feature.name: feature.dtype for feature in group.outputs}
    return ViewForm(ws.company.name, group.entity.key, group.live_view, Packing(dtypes, group.version))

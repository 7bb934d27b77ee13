"""Writing rows of values into the online store: vectorised, in order of time, and never waiting for ever.

Whoever publishes goes through here: the nightly publication, Feast's plug-in and the stream runner. A row is one hash
field per feature in Feast's form, ``_ts:<view>``, and the packed row of ``row.layout``; one script writes it whole or
refuses it, so the newest (event time, known at) wins whoever writes (law 2). Serving reads with ``lookup`` and needs
nothing of this module.

Columns become RESP commands without a Python step per row: every argument of every row is an Arrow binary column, and
Arrow joins them. A row is one command on one key, which is one slot of a cluster; there the rows are sent to the nodes
that hold their slots, and a slot that has moved meanwhile is a fault that passes, not a redirection to follow.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import hiredis
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from redis.crc import key_slot

from rapport_feast.errors import Transient
from rapport_feast.resp import encode_command
from rapport_feast.row.address import ANSWER_SECONDS, CONNECT_SECONDS, OnlineStore
from rapport_feast.row.binary_columns import Int64
from rapport_feast.row.commands import content_of, row_commands
from rapport_feast.row.connection import NodeConnection, server_error
from rapport_feast.row.encoding import EncodedRows, Times, ViewForm, chunk_rows, encode
from rapport_feast.row.keys import stream_key
from rapport_feast.row.layout import FOREVER_US
from rapport_feast.row.script import HEARTBEAT

CHUNKS_ON_THE_WAY = 2


@dataclass
class WriteResult:
    """What became of some rows: how many are online now, and the positions of those that something newer kept out."""

    accepted: int = 0
    refused: Int64 = field(default_factory=lambda: np.empty(0, np.int64))


class RowWriter:
    """Writes rows and heartbeats; not for two threads at once.

    Parameters
    ----------
    replace
        Whether a row of the very same event time and known-at takes the place of another one: a night built again.
    seconds
        Within which the server must have taken and answered a chunk of rows.
    ttl_seconds
        After which an entity is forgotten that nothing is written for.
    """

    def __init__(
        self, store: OnlineStore, *, replace: bool = False, seconds: float = ANSWER_SECONDS, ttl_seconds: int = 0
    ) -> None:
        self.store, self.replace, self.seconds, self.ttl_seconds = store, replace, seconds, ttl_seconds
        self._lines: dict[tuple[str, int], NodeConnection] = {}
        self._slots: list[tuple[int, int, tuple[str, int]]] = []

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the next write opens new ones."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()
        self._slots.clear()

    def write(
        self,
        form: ViewForm,
        ids: Sequence[str] | pa.Array,
        rows: pa.Table,
        event_us: Times,
        known_us: Times,
        valid_until_us: Times = FOREVER_US,
        shown: pa.Table | None = None,
    ) -> WriteResult:
        """Write rows of a view.

        Parameters
        ----------
        rows
            The features of the view, among others perhaps; a row for each id. A NaN is no value.
        event_us, known_us, valid_until_us
            Microseconds since the epoch, one for all rows or one for each.
        shown
            What Feast's fields get where that is not what is packed: the columns that differ.

        Raises
        ------
        Transient
            The server does not take or answer a chunk in time, or cannot write now; some rows may have been written.
        Terminal
            The server refuses the script or the key holds something else.
        """
        size = chunk_rows(len(form.fields))
        event, known, until = (
            np.broadcast_to(np.asarray(one, np.int64), len(ids)) for one in (event_us, known_us, valid_until_us)
        )

        def encoded() -> Iterator[EncodedRows]:
            for first in range(0, len(ids), size):
                part = slice(first, first + size)
                other = None if shown is None else shown.slice(first, size)
                yield encode(
                    form, ids[part], rows.slice(first, size), event[part], known[part], until[part], shown=other
                )

        return self.put(encoded())

    def put(self, chunks: Iterable[EncodedRows]) -> WriteResult:
        """Write chunks of encoded rows: while one is encoded, the server works on the one before."""
        under_way: deque[Chunk] = deque()
        verdicts: list[npt.NDArray[np.int8]] = []
        try:
            for rows in chunks:
                under_way.append(self._send(rows))
                if len(under_way) > CHUNKS_ON_THE_WAY:
                    verdicts.append(self._answers(under_way.popleft()))
            while under_way:
                verdicts.append(self._answers(under_way.popleft()))
        except BaseException:
            self.close()  # answers of what was sent would be taken for those of what comes next
            raise
        accepted = np.concatenate(verdicts) if verdicts else np.empty(0, np.int8)
        return WriteResult(int(np.count_nonzero(accepted)), np.flatnonzero(accepted == 0))

    def heartbeat(self, applied_us: int, position: int) -> None:
        """Say up to which log time and position everything accepted is online."""
        key = stream_key(self.store.project)
        line = self.line(key)
        deadline = time.monotonic() + self.seconds
        try:
            words = (b"EVAL", HEARTBEAT.encode(), b"1", key, b"%d" % applied_us, b"%d" % position)
            line.send(encode_command(words), deadline)
            (answer,) = line.answers(1, deadline)
            if isinstance(answer, hiredis.HiredisError):
                raise server_error(self.store, answer)
        except BaseException:
            self.close()
            raise

    def _send(self, rows: EncodedRows) -> "Chunk":
        flags = (b"%d" % (self.replace or rows.replace), b"%d" % self.ttl_seconds)
        chunk = Chunk(row_commands(rows, flags), rows.keys, time.monotonic() + self.seconds)
        self._post(chunk)
        return chunk

    def _post(self, chunk: "Chunk") -> None:
        if not self.store.cluster:
            chunk.posted = [(self.line(b""), np.arange(len(chunk.keys)))]
            chunk.posted[0][0].send(content_of(chunk.commands), chunk.deadline)
            return
        whose: dict[NodeConnection, list[int]] = {}
        for place, key in enumerate(chunk.keys.to_pylist()):
            whose.setdefault(self.line(key), []).append(place)
        chunk.posted = [(line, np.array(places)) for line, places in whose.items()]
        for line, places in chunk.posted:
            line.send(content_of(chunk.commands.take(pa.array(places))), chunk.deadline)

    def _answers(self, chunk: "Chunk", *, again: bool = False) -> npt.NDArray[np.int8]:
        verdicts = np.zeros(len(chunk.keys), np.int8)
        unknown = False
        for line, places in chunk.posted:
            answers = line.answers(len(places), chunk.deadline)
            faults = [answer for answer in answers if isinstance(answer, hiredis.HiredisError)]
            unknown = unknown or any(str(fault).startswith("NOSCRIPT") for fault in faults)
            if other := [fault for fault in faults if not str(fault).startswith("NOSCRIPT")]:
                raise server_error(self.store, other[0])
            if not faults:
                verdicts[places] = answers
        if not unknown:
            return verdicts
        if again:
            raise Transient(f"The online store at {self.store.host}:{self.store.port} forgets the script of the rows.")
        # Somebody flushed the scripts: nothing was written by those, and what was written is the same again.
        others, chunk.deadline = chunk.posted, time.monotonic() + self.seconds
        for line, _ in others:
            line.load(chunk.deadline)
        self._post(chunk)
        return self._answers(chunk, again=True)

    def line(self, key: bytes) -> "NodeConnection":
        """Return the connection to the node that holds a key."""
        home = (self.store.host, self.store.port)
        address = self._node(key) if self.store.cluster else home
        if address not in self._lines:
            deadline = time.monotonic() + self.seconds
            line = NodeConnection(self.store, address, min(self.seconds, CONNECT_SECONDS))
            self._lines[address] = line
            try:
                line.enter(deadline)
                line.load(deadline)
            except BaseException:
                self.close()
                raise
        return self._lines[address]

    def _node(self, key: bytes) -> tuple[str, int]:
        if not self._slots:
            with self.store.client(seconds=self.seconds, retries=0) as client:
                slots = client.execute_command("CLUSTER SLOTS")
            self._slots = sorted(_ranges(slots, self.store.host))
        slot = key_slot(key)
        for first, last, address in self._slots:
            if first <= slot <= last:
                return address
        raise Transient(f"No node of the cluster at {self.store.host}:{self.store.port} holds slot {slot}.")


@dataclass
class Chunk:
    """Commands on their way: what was sent to whom, and by when it must be answered."""

    commands: pa.Array
    keys: pa.Array
    deadline: float
    posted: list[tuple["NodeConnection", Int64]] = field(default_factory=list)


def _ranges(slots: Any, host: str) -> Iterator[tuple[int, int, tuple[str, int]]]:
    """Yield the slots and the address of each primary, from what ``CLUSTER SLOTS`` answered."""
    for (first, last), nodes in slots.items():
        address, port = nodes["primary"][:2]
        named = address.decode() if isinstance(address, bytes) else address
        yield int(first), int(last), (named or host, int(port))

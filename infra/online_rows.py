"""Writing rows of values into the online store: vectorised, in order of time, and never waiting for ever.

Whoever publishes goes through here: the nightly publication, Feast's plug-in and the stream runner. A row is one hash
field per feature in Feast's form, ``_ts:<view>``, and the packed row of ``infra.packed``; one script writes it whole or
refuses it, so the newest (event time, known at) wins whoever writes (law 2). Serving reads with ``lookup`` and needs
nothing of this module.

Columns become RESP commands without a Python step per row: every argument of every row is an Arrow binary column, and
Arrow joins them. A row is one command on one key, which is one slot of a cluster; there the rows are sent to the nodes
that hold their slots, and a slot that has moved meanwhile is a fault that passes, not a redirection to follow.
"""

import hashlib
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any

import hiredis
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from redis.crc import key_slot

from infra.clock import MICROSECOND
from infra.errors import Terminal, Transient
from infra.feast_form import EPOCH, KEY_TYPES, TAGS, encode_time, feature_field, time_field, varint
from infra.online import ANSWER_SECONDS, CONNECT_SECONDS, OnlineStore
from infra.packed import FOREVER_US, Packing, row_field, stream_key

Bytes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
Times = int | Int64

ARROW = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}
VALUES_A_CHUNK = 100_000
ROWS_A_CHUNK = 10_000
CHUNKS_ON_THE_WAY = 2
PASSING = ("LOADING", "OOM", "READONLY", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "BUSY", "NOREPLICAS")

# Answers: 0 refused, because what is there is newer or of the same moment; 1 written; 2 there already, byte by byte.
# A mark begins like a packed row: four bytes, event time, known at. Numbers of Lua hold 53 bits, so it is halves that
# are compared. Where Feast's stock store wrote last there is no mark of that event time: then its time alone counts.
WRITE = """
local function time(bytes)
  local at, found = 1, {0, 0}
  while at <= #bytes do
    local tag, sum, less, unit, length = string.byte(bytes, at), 0, 0, 1, 0
    repeat
      at, length = at + 1, length + 1
      local byte = string.byte(bytes, at)
      if length < 10 then
        sum, less, unit = sum + byte % 128 * unit, less + (127 - byte % 128) * unit, unit * 128
      end
    until byte < 128
    at = at + 1
    found[tag == 8 and 1 or 2] = length == 10 and -less - 1 or sum
  end
  return found[1], found[2]
end
local held = redis.call('HMGET', KEYS[1], ARGV[3], ARGV[5])
local mark, stamp = held[1], held[2]
if stamp == ARGV[6] then
  if mark and string.sub(mark, 5, 12) == string.sub(ARGV[4], 5, 12) then
    if mark == ARGV[4] and #mark > 28 then return 2 end
    local low, high = struct.unpack('<I4i4', mark, 13)
    local LOW, HIGH = struct.unpack('<I4i4', ARGV[4], 13)
    if HIGH < high or HIGH == high and (LOW < low or LOW == low and ARGV[1] == '0') then return 0 end
  end
elseif stamp then
  local seconds, nanos = time(stamp)
  local SECONDS, NANOS = time(ARGV[6])
  if SECONDS < seconds or SECONDS == seconds and NANOS < nanos then return 0 end
end
for first = 3, #ARGV, 4000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, first, math.min(first + 3999, #ARGV)))
end
if ARGV[2] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return 1
"""
# The stream's heartbeat never goes back, whichever runner sends it.
BEAT = """
local held = redis.call('HGET', KEYS[1], 'applied')
if held and tonumber(held) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'applied', ARGV[1], 'position', ARGV[2])
return 1
"""


@dataclass(frozen=True)
class ViewForm:
    """How the rows of a view of one text key stand online: the key's name, the view's and its packed row."""

    project: str
    key: str
    view: str
    packing: Packing

    @cached_property
    def fields(self) -> tuple[bytes, ...]:
        """The hash field of each feature."""
        return tuple(feature_field(self.view, name) for name in self.packing.names)

    def keys(self, ids: Sequence[str] | pa.Array) -> pa.Array:
        """Return the keys of some entities, as ``feast_form.entity_key`` gives them one by one."""
        return entity_keys(self.project, {self.key: pa.array(ids, pa.string())})


@dataclass(frozen=True)
class Rows:
    """Encoded rows, one per entity key: what the script is given.

    Attributes
    ----------
    keys
        Hash keys, binary.
    mark
        The field of the mark, and its parts, which are joined; the first begins with the order of the row.
    stamp
        The field of the event time, and each row's.
    fields, values
        The hash field of each feature, and each row's encoded value, without nulls.
    replace
        Whether a row of the very same event time and known-at takes the place of another one.
    """

    keys: pa.Array
    mark: tuple[bytes, Sequence[pa.Array]]
    stamp: tuple[bytes, pa.Array]
    fields: Sequence[bytes]
    values: Sequence[pa.Array]
    replace: bool = False


@dataclass
class Written:
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
        self._lines: dict[tuple[str, int], Line] = {}
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
    ) -> Written:
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

        def encoded() -> Iterator[Rows]:
            for first in range(0, len(ids), size):
                part = slice(first, first + size)
                other = None if shown is None else shown.slice(first, size)
                yield encode(
                    form, ids[part], rows.slice(first, size), event[part], known[part], until[part], shown=other
                )

        return self.put(encoded())

    def put(self, chunks: Iterable[Rows]) -> Written:
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
        told = np.concatenate(verdicts) if verdicts else np.empty(0, np.int8)
        return Written(int(np.count_nonzero(told)), np.flatnonzero(told == 0))

    def heartbeat(self, applied_us: int, position: int) -> None:
        """Say up to which log time and position everything accepted is online."""
        key = stream_key(self.store.project)
        line = self.line(key)
        deadline = time.monotonic() + self.seconds
        try:
            line.send(_command(b"EVAL", BEAT.encode(), b"1", key, b"%d" % applied_us, b"%d" % position), deadline)
            (answer,) = line.answers(1, deadline)
            if isinstance(answer, hiredis.HiredisError):
                raise _fault(self.store, answer)
        except BaseException:
            self.close()
            raise

    def _send(self, rows: Rows) -> "Chunk":
        flags = (b"%d" % (self.replace or rows.replace), b"%d" % self.ttl_seconds)
        chunk = Chunk(_commands(rows, flags), rows.keys, time.monotonic() + self.seconds)
        self._post(chunk)
        return chunk

    def _post(self, chunk: "Chunk") -> None:
        if not self.store.cluster:
            chunk.posted = [(self.line(b""), np.arange(len(chunk.keys)))]
            chunk.posted[0][0].send(_content(chunk.commands), chunk.deadline)
            return
        whose: dict[Line, list[int]] = {}
        for place, key in enumerate(chunk.keys.to_pylist()):
            whose.setdefault(self.line(key), []).append(place)
        chunk.posted = [(line, np.array(places)) for line, places in whose.items()]
        for line, places in chunk.posted:
            line.send(_content(chunk.commands.take(pa.array(places))), chunk.deadline)

    def _answers(self, chunk: "Chunk", *, again: bool = False) -> npt.NDArray[np.int8]:
        verdicts = np.zeros(len(chunk.keys), np.int8)
        unknown = False
        for line, places in chunk.posted:
            answers = line.answers(len(places), chunk.deadline)
            faults = [answer for answer in answers if isinstance(answer, hiredis.HiredisError)]
            unknown = unknown or any(str(fault).startswith("NOSCRIPT") for fault in faults)
            if other := [fault for fault in faults if not str(fault).startswith("NOSCRIPT")]:
                raise _fault(self.store, other[0])
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

    def line(self, key: bytes) -> "Line":
        """Return the connection to the node that holds a key."""
        home = (self.store.host, self.store.port)
        address = self._node(key) if self.store.cluster else home
        if address not in self._lines:
            deadline = time.monotonic() + self.seconds
            line = Line(self.store, address, min(self.seconds, CONNECT_SECONDS))
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
                told = client.execute_command("CLUSTER SLOTS")
            self._slots = sorted(_ranges(told, self.store.host))
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
    posted: list[tuple["Line", Int64]] = field(default_factory=list)


class Line:
    """One connection to one node, where everything has a deadline."""

    def __init__(self, store: OnlineStore, address: tuple[str, int], seconds: float) -> None:
        self.store, self.reader = store, hiredis.Reader()
        with self._in_time(time.monotonic() + seconds):
            plain = socket.create_connection(address, timeout=seconds)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wrap = ssl.create_default_context().wrap_socket if store.tls else None
            self.socket = wrap(plain, server_hostname=address[0]) if wrap else plain

    def enter(self, deadline: float) -> None:
        """Log in and choose the database."""
        login = [part.encode() for part in (self.store.username, self.store.password) if part]
        if self.store.password:
            self._call(_command(b"AUTH", *login), deadline)
        if self.store.db:
            self._call(_command(b"SELECT", b"%d" % self.store.db), deadline)

    def load(self, deadline: float) -> None:
        """Load the script of the rows."""
        self._call(_command(b"SCRIPT", b"LOAD", WRITE.encode()), deadline)

    def send(self, content: memoryview | bytes, deadline: float) -> None:
        """Send commands."""
        with self._in_time(deadline) as left:
            self.socket.settimeout(left)
            self.socket.sendall(content)

    def answers(self, count: int, deadline: float) -> list[Any]:
        """Return the next answers; a fault of the server among them is an error, not raised."""
        found: list[Any] = []
        while len(found) < count:
            answer = self.reader.gets()
            if answer is not False:
                found.append(answer)
                continue
            with self._in_time(deadline) as left:
                self.socket.settimeout(left)
                received = self.socket.recv(1 << 16)
                if not received:
                    raise ConnectionResetError("it closed the connection")
            self.reader.feed(received)
        return found

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def _call(self, content: bytes, deadline: float) -> None:
        self.send(content, deadline)
        (answer,) = self.answers(1, deadline)
        if isinstance(answer, hiredis.HiredisError):
            raise _fault(self.store, answer)

    def _in_time(self, deadline: float) -> "_InTime":
        return _InTime(self.store, deadline)


@dataclass
class _InTime:
    """A block that ends before a deadline, or in the fault of a server that did not answer."""

    store: OnlineStore
    deadline: float

    def __enter__(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise self.store.silent(TimeoutError("its time was over"))
        return left

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise self.store.silent(error) from error


def encode(
    form: ViewForm,
    ids: Sequence[str] | pa.Array,
    rows: pa.Table,
    event_us: Int64,
    known_us: Int64,
    valid_until_us: Int64,
    shown: pa.Table | None = None,
) -> Rows:
    """Return rows of a view as the script takes them."""
    columns = [column(rows, name, ARROW[dtype]) for name, dtype in _dtypes(form.packing)]
    differs = set(shown.column_names if shown is not None else ())
    feasts = [
        column(shown, name, ARROW[dtype]) if name in differs else same
        for same, (name, dtype) in zip(columns, _dtypes(form.packing), strict=True)
    ]
    return Rows(
        form.keys(ids),
        (row_field(form.view), packed(form.packing, columns, event_us, known_us, valid_until_us)),
        (time_field(form.view), stamps(event_us)),
        form.fields,
        [protobuf(one) for one in feasts],
    )


def entity_keys(project: str, columns: Mapping[str, pa.Array]) -> pa.Array:
    """Return the hash keys of some entities from their join keys: columns of text or int64, without nulls."""
    names = sorted(columns)
    pieces: list[pa.Array | bytes] = [struct.pack("<I", len(names))]
    pieces += [struct.pack("<II", KEY_TYPES["string"], len(name.encode())) + name.encode() for name in names]
    for name in names:
        if pa.types.is_integer(columns[name].type):
            numbers = _fixed(_octets(_numbers(columns[name].cast(pa.int64()))))
            pieces += [struct.pack("<II", KEY_TYPES["int64"], 8), numbers]
        else:
            texts = columns[name].cast(pa.binary())
            sizes = _fixed(_lengths(texts).astype("<u4").view(np.uint8).reshape(-1, 4))
            pieces += [struct.pack("<I", KEY_TYPES["string"]), sizes, texts]
    return _joined([*pieces, project.encode()], len(columns[names[0]]))


def packed(
    packing: Packing, columns: Sequence[pa.Array], event_us: Int64, known_us: Int64, valid_until_us: Int64
) -> list[pa.Array]:
    """Return the packed rows in parts to be joined: everything of fixed length, then each text."""
    rows, form = len(event_us), packing.form
    fixed = np.zeros((rows, form.size), np.uint8)
    fixed[:, :4] = np.frombuffer(packing.definition, np.uint8)
    for at, times in ((4, event_us), (12, known_us), (20, valid_until_us)):
        fixed[:, at : at + 8] = _octets(times.astype("<i8"))
    texts: list[pa.Array] = []
    numbers = 28 + packing.nulls
    missing = np.zeros((rows, len(columns)), bool)
    for place, column in enumerate(columns):
        if column.null_count:
            missing[:, place] = np.asarray(column.is_null())
        if pa.types.is_string(column.type):
            texts.append(column.fill_null("").cast(pa.binary()))
            number = _lengths(texts[-1]).astype("<i8")
        else:
            number = _numbers(column)
        fixed[:, numbers + 8 * place : numbers + 8 * (place + 1)] = _octets(number)
    fixed[:, 28:numbers] = np.packbits(missing, axis=1, bitorder="little")
    return [_fixed(fixed), *texts]


def marks(event_us: Int64, known_us: Int64) -> pa.Array:
    """Return the marks of rows that are not packed: the beginning of a packed row, valid until the next one comes."""
    fixed = np.zeros((len(event_us), 28), np.uint8)
    for at, times in ((4, event_us), (12, known_us), (20, np.full(len(event_us), FOREVER_US))):
        fixed[:, at : at + 8] = _octets(times.astype("<i8"))
    return _fixed(fixed)


def binary(content: Sequence[bytes]) -> pa.Array:
    """Return some bytes as a column."""
    return pa.array(content, pa.binary())


def stamps(event_us: Int64) -> pa.Array:
    """Return event times as Feast stores them."""
    times, which = np.unique(event_us, return_inverse=True)
    encoded = pa.array([encode_time(EPOCH + int(one) * MICROSECOND) for one in times], pa.binary())
    return encoded.take(pa.array(which)) if len(times) else encoded


def protobuf(column: pa.Array) -> pa.Array:
    """Return values of int64, float64 or text in Feast's form; no value is no bytes."""
    absent = np.asarray(column.is_null()) if column.null_count else np.zeros(len(column), bool)
    if pa.types.is_string(column.type):
        texts = column.fill_null("").cast(pa.binary())
        sizes, which = np.unique(np.where(absent, -1, _lengths(texts)), return_inverse=True)
        heads = pa.array([b"" if size < 0 else bytes([TAGS["string"]]) + varint(size) for size in sizes], pa.binary())
        return _joined([heads.take(pa.array(which)), texts], len(texts))
    if pa.types.is_floating(column.type):
        found = np.empty((len(column), 9), np.uint8)
        found[:, 0] = TAGS["double"]
        found[:, 1:] = _octets(_numbers(column))
        return _binary(found[~absent], np.where(absent, 0, 9))
    return _varints(TAGS["int64"], _numbers(column), absent)


def chunk_rows(features: int) -> int:
    """Return how many rows of so many features make a chunk."""
    return max(1, min(ROWS_A_CHUNK, VALUES_A_CHUNK // max(features, 1)))


def _commands(rows: Rows, flags: tuple[bytes, bytes]) -> pa.Array:
    """Return one RESP command per row."""
    count = 3 + 1 + 2 + 4 + 2 * len(rows.fields)
    constant = _command(b"EVALSHA", SHA, b"1").partition(b"\r\n")[2]
    pieces: list[pa.Array | bytes] = [b"*%d\r\n" % count + constant, *_bulk(rows.keys)]
    pieces += [b"".join(map(_word, (*flags, rows.mark[0]))), *_bulk(*rows.mark[1])]
    pieces += [_word(rows.stamp[0]), *_bulk(rows.stamp[1])]
    for name, values in zip(rows.fields, rows.values, strict=True):
        pieces += [_word(name), *_bulk(values)]
    return _joined(pieces, len(rows.keys))


def _bulk(*parts: pa.Array) -> list[pa.Array | bytes]:
    """Return the pieces of an argument whose bytes are joined of some parts."""
    lengths = np.sum([_lengths(part) for part in parts], axis=0)
    if len(lengths) and (lengths == lengths[0]).all():
        return [b"$%d\r\n" % lengths[0], *parts, b"\r\n"]
    sizes, which = np.unique(lengths, return_inverse=True)
    heads = pa.array([b"$%d\r\n" % size for size in sizes], pa.binary())
    return [heads.take(pa.array(which)), *parts, b"\r\n"]


def _joined(pieces: Sequence[pa.Array | bytes], rows: int) -> pa.Array:
    """Join pieces row by row; those that are bytes are the same in every row."""
    if not rows:
        return pa.array([], pa.binary())
    merged: list[pa.Array | bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += piece
        else:
            merged.append(piece)
    given = [pa.scalar(piece, pa.binary()) if isinstance(piece, bytes) else piece for piece in merged]
    return pc.binary_join_element_wise(*given, pa.scalar(b"", pa.binary()))


def _content(commands: pa.Array) -> memoryview:
    """Return the bytes of some commands, one behind the other."""
    first, last = (_offsets(commands)[place] for place in (0, -1))
    return memoryview(commands.buffers()[2])[first:last]


def column(rows: pa.Table, name: str, kind: pa.DataType) -> pa.Array:
    """Return a column of a table in one piece, of a type; NaN is no value."""
    found = whole(rows[name].cast(kind))
    if not pa.types.is_floating(kind) or not pc.any(pc.is_nan(found)).as_py():
        return found
    return pc.if_else(pc.is_nan(found), pa.scalar(None, kind), found)


def whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column in one piece."""
    return (
        pa.concat_arrays(column.chunks)
        if isinstance(column, pa.ChunkedArray) and column.num_chunks
        else (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    )


def _dtypes(packing: Packing) -> list[tuple[str, str]]:
    return list(zip(packing.names, packing.dtypes, strict=True))


def _numbers(column: pa.Array) -> npt.NDArray[Any]:
    """Return the numbers of a column, zero where there is none."""
    return np.asarray(column.fill_null(0) if column.null_count else column)


def _octets(numbers: npt.NDArray[Any]) -> Bytes:
    """Return each number as its eight bytes, little endian."""
    laid = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<"))
    return laid.view(np.uint8).reshape(len(numbers), 8)


def _varints(tag: int, numbers: Int64, absent: npt.NDArray[np.bool_]) -> pa.Array:
    """Return numbers as protobuf fields; nothing where absent."""
    values = numbers.view(np.uint64)
    width = max(1, -(-int(values.max(initial=0)).bit_length() // 7))
    found = np.empty((len(values), width + 1), np.uint8)
    found[:, 0] = tag
    lengths = np.full(len(values), 2)
    for place in range(width):
        rest = values >> np.uint64(7 * (place + 1)) if place < 9 else np.zeros(len(values), np.uint64)
        more = rest > 0
        found[:, place + 1] = (values >> np.uint64(7 * place)).astype(np.uint8) & 0x7F | more.astype(np.uint8) << 7
        lengths += more
    lengths[absent] = 0
    return _binary(found[np.arange(width + 1) < lengths[:, None]], lengths)


def _binary(data: Bytes, lengths: npt.NDArray[Any]) -> pa.Array:
    """Return a binary column of bytes that stand one behind the other."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    content = np.ascontiguousarray(data).reshape(-1)
    return pa.Array.from_buffers(pa.binary(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(content)])


def _fixed(data: Bytes) -> pa.Array:
    """Return a binary column of rows of the same length."""
    return _binary(data, np.full(len(data), data.shape[1]))


def _offsets(column: pa.Array) -> npt.NDArray[np.int32]:
    whole = np.frombuffer(column.buffers()[1], np.int32) if column.buffers()[1] else np.zeros(1, np.int32)
    return whole[column.offset : column.offset + len(column) + 1]


def _lengths(column: pa.Array) -> npt.NDArray[np.int32]:
    return np.diff(_offsets(column))


def _word(word: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word), word)


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(map(_word, words))


def _ranges(told: Any, host: str) -> Iterator[tuple[int, int, tuple[str, int]]]:
    """Yield the slots and the address of each primary, from what ``CLUSTER SLOTS`` told redis-py."""
    for (first, last), nodes in told.items():
        address, port = nodes["primary"][:2]
        named = address.decode() if isinstance(address, bytes) else address
        yield int(first), int(last), (named or host, int(port))


def _fault(store: OnlineStore, answer: Exception) -> Transient | Terminal:
    """Return what an error of the server is to the caller."""
    sentence = f"The online store at {store.host}:{store.port} did not write ({answer})."
    return (Transient if str(answer).startswith(PASSING) else Terminal)(sentence)


SHA = hashlib.sha1(WRITE.encode(), usedforsecurity=False).hexdigest().encode()

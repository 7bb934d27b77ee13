"""Connections to the online store that pipeline by themselves, and are thrown away at the first doubt.

All calls of one turn of the event loop leave in one write; replies are matched by their order alone, so a connection
that was late, broken or made no sense is closed and every call that waited on it fails. Nothing is tried twice: the
caller has another rung to stand on. With no connection left every call fails at once, which is the open circuit; the
background keeps probing with a PING, at most ``LONGEST_PAUSE`` apart.
"""

import asyncio
import ssl
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

import hiredis

from infra.online import OnlineStore

ANSWER_SECONDS = 0.08
CONNECT_SECONDS = 1.0
SLOW_SECONDS = 0.005
SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
CONNECTIONS = 4
MAX_IN_FLIGHT = 4096
LARGE = 64
Cause = Literal["late", "unreachable", "garbage", "overload"]


class Silent(Exception):
    """The store gave no answer; ``cause`` says why."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause: Cause = cause


class _Call:
    """Commands that were sent together, until the last of their replies is there."""

    __slots__ = ("answered", "begun", "commands", "replies", "width")

    def __init__(self, answered: "asyncio.Future[list[Any]]", commands: int, width: int, begun: float) -> None:
        self.answered = answered
        self.commands = commands
        self.width = width
        self.replies: list[Any] = []
        self.begun = begun


class _Connection(asyncio.Protocol):
    """One connection; it tells its pipeline when it is gone."""

    def __init__(self, seconds: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.seconds = seconds
        self.waiting: deque[_Call] = deque()
        self.gone: asyncio.Future[Cause] = self.loop.create_future()
        self.in_flight = 0
        self.answered_once = False
        self._out: list[bytes] = []
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, _: Exception | None) -> None:
        self.discard("unreachable")

    def call(self, commands: bytes, count: int, width: int) -> "asyncio.Future[list[Any]]":
        """Send commands with the other calls of this turn; each reply must be ``width`` long, if that is not 0."""
        answered: asyncio.Future[list[Any]] = self.loop.create_future()
        now = self.loop.time()
        self.waiting.append(_Call(answered, count, width, now))
        self.in_flight += count
        if not self._out:
            self.loop.call_soon(self._flush)
        self._out.append(commands)
        if self._timer is None:
            self._timer = self.loop.call_at(now + self.seconds, self._watch)
        return answered

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._take(reply)
        except (hiredis.ProtocolError, _Nonsense):
            self.discard("garbage")

    def _take(self, reply: Any) -> None:
        if not self.waiting:
            raise _Nonsense
        call = self.waiting[0]
        fits = not call.width or (isinstance(reply, list) and len(reply) == call.width)
        if not fits and not isinstance(reply, hiredis.ReplyError):
            raise _Nonsense
        call.replies.append(reply)
        if len(call.replies) == call.commands:
            self.waiting.popleft()
            self.in_flight -= call.commands
            self.answered_once = True
            if not call.answered.done():
                call.answered.set_result(call.replies)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and out:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _watch(self) -> None:
        """Come back when the oldest call is due; uvloop runs timers before it reads, so what is due gets one turn."""
        self._timer = None
        if not self.waiting:
            return
        left = self.waiting[0].begun + self.seconds - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._watch)
        else:
            self._timer = self.loop.call_later(0.001, self._give_up, self.waiting[0])

    def _give_up(self, overdue: _Call) -> None:
        if self.waiting and self.waiting[0] is overdue:
            self.discard("late")
        else:
            self._watch()

    def discard(self, cause: Cause) -> None:
        """Close the connection and fail every call that waits on it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
        self._out.clear()
        if not self.gone.done():
            self.gone.set_result(cause)
        waiting, self.waiting, self.in_flight = self.waiting, deque(), 0
        for call in waiting:
            if not call.answered.done():
                call.answered.set_exception(Silent(cause))


class _Nonsense(Exception):
    """A reply that no call can have had."""


class Pipeline:
    """A few connections to one store, kept up in the background of the running event loop.

    Calls go to the first connection as long as it answers: the more calls share a write, the less each costs. One
    whose oldest call has waited ``SLOW_SECONDS`` gets no further calls until it answers. Large calls begin at the
    other end, so that small ones do not queue behind them.
    """

    def __init__(
        self,
        store: OnlineStore,
        *,
        connections: int = CONNECTIONS,
        seconds: float = ANSWER_SECONDS,
        most: int = MAX_IN_FLIGHT,
        discarded: Counter[str] | None = None,
    ) -> None:
        self.store = store
        self.seconds = seconds
        self.most = most
        self.discarded: Counter[str] = Counter() if discarded is None else discarded
        self.refused = 0
        self._slots: list[_Connection | None] = [None] * connections
        self._failures = 0
        self._probing = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._up = asyncio.Event()

    def start(self) -> None:
        """Begin to connect."""
        self._tasks = [asyncio.create_task(self._keep(place)) for place in range(len(self._slots))]

    async def close(self) -> None:
        """Close every connection; calls that still wait fail."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._slots:
            if connection is not None:
                connection.discard("unreachable")

    @property
    def up(self) -> bool:
        """Whether a connection stands."""
        return any(connection is not None for connection in self._slots)

    @property
    def breaker(self) -> Literal["closed", "half-open", "open"]:
        """State of the circuit: open is when calls fail at once."""
        return "closed" if self.up else "half-open" if self._probing else "open"

    @property
    def in_flight(self) -> int:
        """How many commands wait for their replies."""
        return sum(connection.in_flight for connection in self._slots if connection is not None)

    async def wait(self, seconds: float) -> bool:
        """Wait until a connection stands; return whether one does."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._up.wait(), seconds)
        return self.up

    def call(self, commands: bytes, count: int = 1, width: int = 0) -> "asyncio.Future[list[Any]]":
        """Send encoded commands and return the future of their replies; it fails with ``Silent`` by the deadline.

        Raises
        ------
        Silent
            No connection stands, or too many commands are in flight already.
        """
        best: _Connection | None = None
        longest, in_flight = -1.0, 0
        slow = asyncio.get_running_loop().time() - SLOW_SECONDS
        for connection in self._slots if count <= LARGE else reversed(self._slots):
            if connection is None:
                continue
            in_flight += connection.in_flight
            oldest = connection.waiting[0].begun if connection.waiting else None
            if oldest is None or oldest > slow:
                best = connection
                break
            if oldest > longest:
                best, longest = connection, oldest
        if best is None:
            raise Silent("unreachable")
        if in_flight and self.in_flight + count > self.most:
            self.refused += 1
            raise Silent("overload")
        return best.call(commands, count, width)

    async def _keep(self, place: int) -> None:
        while True:
            connection = await self._open()
            if connection is not None:
                self._slots[place] = connection
                connection.answered_once = False
                self._up.set()
                cause = await connection.gone
                self.discarded[cause] += 1
                self._slots[place] = None
                if not self.up:
                    self._up.clear()
                if connection.answered_once:
                    self._failures = 0
            if connection is None or not connection.answered_once:
                # A server that takes PINGs and answers nothing else is as good as none.
                self._failures += 1
            await asyncio.sleep(min(LONGEST_PAUSE, SHORTEST_PAUSE * 2 ** min(self._failures, 8)))

    async def _open(self) -> _Connection | None:
        """Return a connection that has let us in and answered a PING within the deadline, or none."""
        self._probing += 1
        loop = asyncio.get_running_loop()
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self.seconds),
                    self.store.host,
                    self.store.port,
                    ssl=ssl.create_default_context() if self.store.tls else None,
                )
            hello = self._hello()
            replies = await connection.call(b"".join(command(part) for part in hello), len(hello), 0)
            if any(isinstance(reply, hiredis.ReplyError) for reply in replies):
                raise Silent("unreachable")
        except (OSError, TimeoutError, Silent):
            if connection is not None:
                connection.discard("unreachable")
            return None
        except BaseException:
            if connection is not None:
                connection.discard("unreachable")
            raise
        finally:
            self._probing -= 1
        return connection

    def _hello(self) -> list[Sequence[str | bytes]]:
        store = self.store
        login = [part for part in (store.username, store.password) if part] if store.password else []
        hello: list[Sequence[str | bytes]] = [("AUTH", *login)] if login else []
        return [*hello, *([("SELECT", str(store.db))] if store.db else []), ("PING",)]


def command(parts: Sequence[str | bytes]) -> bytes:
    r"""Return a command as it goes over the wire.

    Examples
    --------
    >>> command(("GET", b"k"))
    b'*2\r\n$3\r\nGET\r\n$1\r\nk\r\n'
    """
    raw = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"*%d\r\n" % len(raw) + b"".join(bulk(part) for part in raw)


def bulk(part: bytes) -> bytes:
    """Return one argument of a command as it goes over the wire."""
    return b"$%d\r\n%b\r\n" % (len(part), part)

"""One connection to the online store, which pipelines by itself and is thrown away at the first doubt."""

import asyncio
from collections import deque
from typing import Any, ClassVar, Literal

import hiredis

Cause = Literal["late", "unreachable", "garbage", "overload"]


class StoreReadError(Exception):
    """The store gave no answer; a lookup then goes on without it, so this is no error of a request.

    Attributes
    ----------
    reason
        The word for it in responses and counters (``REASONS``).
    """

    reason: ClassVar[Cause]


class StoreUnreachable(StoreReadError):
    """No connection stands, or the one that was used broke."""

    reason = "unreachable"


class StoreTimeout(StoreReadError):
    """The store did not answer by the deadline."""

    reason = "late"


class UnreadableReply(StoreReadError):
    """The store answered what cannot be read, or what no call can have had."""

    reason = "garbage"


class TooManyReads(StoreReadError):
    """Too many commands wait for their replies already."""

    reason = "overload"


class _Call:
    """Commands that were sent together, until the last of their replies is there.

    Attributes
    ----------
    future
        Gets the replies.
    commands
        How many replies belong to it.
    width
        How long each reply must be; 0 is any.
    sent_at
        Time of the event loop.
    """

    __slots__ = ("commands", "future", "replies", "sent_at", "width")

    def __init__(self, future: "asyncio.Future[list[Any]]", commands: int, width: int, sent_at: float) -> None:
        self.future = future
        self.commands = commands
        self.width = width
        self.replies: list[Any] = []
        self.sent_at = sent_at


class Connection(asyncio.Protocol):
    """One connection; ``closed`` tells the pool when and why it is gone."""

    def __init__(self, deadline: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.deadline = deadline
        self.waiting: deque[_Call] = deque()
        self.closed: asyncio.Future[type[StoreReadError]] = self.loop.create_future()
        self.in_flight = 0
        self.has_replied = False
        self._buffer: list[bytes] = []
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, _: Exception | None) -> None:
        self.discard(StoreUnreachable)

    def call(self, commands: bytes, count: int, width: int) -> "asyncio.Future[list[Any]]":
        """Send commands with the other calls of this turn; each reply must be ``width`` long, if that is not 0."""
        future: asyncio.Future[list[Any]] = self.loop.create_future()
        now = self.loop.time()
        self.waiting.append(_Call(future, count, width, now))
        self.in_flight += count
        if not self._buffer:
            self.loop.call_soon(self._flush)
        self._buffer.append(commands)
        if self._timer is None:
            self._timer = self.loop.call_at(now + self.deadline, self._check_deadline)
        return future

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._take(reply)
        except (hiredis.ProtocolError, UnreadableReply):
            self.discard(UnreadableReply)

    def _take(self, reply: Any) -> None:
        if not self.waiting:
            raise UnreadableReply
        call = self.waiting[0]
        fits = not call.width or (isinstance(reply, list) and len(reply) == call.width)
        if not fits and not isinstance(reply, hiredis.ReplyError):
            raise UnreadableReply
        call.replies.append(reply)
        if len(call.replies) == call.commands:
            self.waiting.popleft()
            self.in_flight -= call.commands
            self.has_replied = True
            if not call.future.done():
                call.future.set_result(call.replies)

    def _flush(self) -> None:
        out, self._buffer = self._buffer, []
        if self._transport is not None and out:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _check_deadline(self) -> None:
        """Come back when the oldest call is due; uvloop runs timers before it reads, so what is due gets one turn."""
        self._timer = None
        if not self.waiting:
            return
        left = self.waiting[0].sent_at + self.deadline - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._check_deadline)
        else:
            self._timer = self.loop.call_later(0.001, self._expire, self.waiting[0])

    def _expire(self, overdue: _Call) -> None:
        if self.waiting and self.waiting[0] is overdue:
            self.discard(StoreTimeout)
        else:
            self._check_deadline()

    def discard(self, error: type[StoreReadError]) -> None:
        """Close the connection and fail every call that waits on it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
        self._buffer.clear()
        if not self.closed.done():
            self.closed.set_result(error)
        waiting, self.waiting, self.in_flight = self.waiting, deque(), 0
        for call in waiting:
            if not call.future.done():
                call.future.set_exception(error())

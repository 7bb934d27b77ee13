"""One connection to the online store, which pipelines by itself and is thrown away at the first doubt."""

import asyncio
from collections import deque
from typing import Any, Literal

import hiredis

Cause = Literal["late", "unreachable", "garbage", "overload"]


class StoreReadError(Exception):
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


class Connection(asyncio.Protocol):
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
        except (hiredis.ProtocolError, _UnexpectedReply):
            self.discard("garbage")

    def _take(self, reply: Any) -> None:
        if not self.waiting:
            raise _UnexpectedReply
        call = self.waiting[0]
        fits = not call.width or (isinstance(reply, list) and len(reply) == call.width)
        if not fits and not isinstance(reply, hiredis.ReplyError):
            raise _UnexpectedReply
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
                call.answered.set_exception(StoreReadError(cause))


class _UnexpectedReply(Exception):
    """A reply that no call can have had."""

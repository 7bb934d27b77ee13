"""HTTP for lookups: uvicorn's own protocol, with a shorter way for the requests of one path.

A request of that path which comes alone and with a known, small size goes from the parser to the answer and from there
to the socket. Everything else, and whatever is unusual about it, takes uvicorn's way through ASGI. Between the two
nothing differs but time: ASGI's messages and copies took more of a lookup than the lookup.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

Headers = tuple[tuple[bytes, bytes], ...]
RawResponse = tuple[bytes, int, Headers]
MAX_DIRECT_BYTES = 1 << 16
INTERNAL_ERROR: RawResponse = (b"Internal Server Error", 500, ((b"content-type", b"text/plain; charset=utf-8"),))


class DirectCycle:
    """A request and its answer; it stands where uvicorn's protocol expects one of its own cycles."""

    __slots__ = ("body", "disconnected", "keep_alive", "message_event", "response_complete")

    def __init__(self, *, keep_alive: bool) -> None:
        self.body = b""
        self.keep_alive = keep_alive
        self.disconnected = self.response_complete = False
        self.message_event = NO_WAITER


class _NoWaiter:
    """Waits for no message: the body is there as a whole before anybody asks."""

    def set(self) -> None:
        """Wake nobody."""


NO_WAITER = _NoWaiter()


class ServiceProtocol(HttpToolsProtocol):
    """One connection.

    Parameters
    ----------
    path
        The path whose POST requests are answered directly.
    answer
        Gives body, status and headers for the body of a request.
    """

    def __init__(self, path: bytes, answer: Callable[[bytes], Awaitable[RawResponse]], **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._path, self._answer = path, answer
        self._idle_from = 0.0
        self._idle: asyncio.TimerHandle | None = None
        self._direct: DirectCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch a connection."""
        super().connection_made(transport)
        self._idle_from = self.loop.time()
        self._idle = self.loop.call_later(self.timeout_keep_alive, self._look_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching it."""
        super().connection_lost(exc)
        if self._idle is not None:
            self._idle.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        self._idle_from = self.loop.time()
        super().data_received(data)

    def _look_if_idle(self) -> None:
        """Close a connection on which nothing happened: one timer in all, where uvicorn takes one for each request."""
        left = self._idle_from + self.timeout_keep_alive - self.loop.time()
        if self.cycle is not None and not self.cycle.response_complete:
            left = self.timeout_keep_alive
        if left > 0:
            self._idle = self.loop.call_later(left, self._look_if_idle)
        else:
            self.timeout_keep_alive_handler()

    def on_headers_complete(self) -> None:
        """Decide by which way the request goes."""
        if self._is_direct():
            self._direct = DirectCycle(keep_alive=self.parser.should_keep_alive())
            self.cycle = self._direct  # type: ignore[assignment]
        else:
            self._direct = None
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._direct is not None:
            self._direct.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Answer, once the request is there."""
        if self._direct is None:
            super().on_message_complete()
            return
        task = self.loop.create_task(self._exchange(self._direct))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _is_direct(self) -> bool:
        """Say whether a request may go the short way: not while another one is being answered."""
        if self.url != self._path or self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1":
            return False
        if self.expect_100_continue or self.parser.should_upgrade() or self.limit_concurrency is not None:
            return False
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        size = [value for name, value in self.headers if name == b"content-length"]
        return len(size) == 1 and size[0].isdigit() and int(size[0]) <= MAX_DIRECT_BYTES

    async def _exchange(self, exchange: DirectCycle) -> None:
        try:
            body, status, headers = await self._answer(exchange.body)
        except Exception:
            self.logger.exception("A lookup failed")
            body, status, headers = INTERNAL_ERROR
        if self.flow.write_paused and not exchange.disconnected:
            await self.flow.drain()
        exchange.response_complete = True
        if exchange.disconnected:
            return
        lines = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            lines += (name, b": ", value, b"\r\n")
        if not exchange.keep_alive:
            lines.append(b"connection: close\r\n")
        lines += (b"content-length: %d\r\n\r\n" % len(body), body)
        self.transport.write(b"".join(lines))
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """Go on with what came in behind the request that was answered."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())


def protocol_factory(path: str, answer: Callable[[bytes], Awaitable[RawResponse]]) -> Callable[..., asyncio.Protocol]:
    """Return what makes the protocol of a connection, for uvicorn."""
    return partial(ServiceProtocol, path.encode(), answer)

"""Connections to the online store that pipeline by themselves, and are thrown away at the first doubt."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

import hiredis

from rapport_feast.address import OnlineStore
from rapport_feast.resp import encode_command
from serving.lookup.connection import Connection, StoreReadError

ANSWER_SECONDS = 0.08
CONNECT_SECONDS = 1.0
SLOW_SECONDS = 0.005
SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
CONNECTIONS = 4
MAX_IN_FLIGHT = 4096
LARGE_CALL = 64


class ConnectionPool:
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
        self._slots: list[Connection | None] = [None] * connections
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
        """Send encoded commands and return the future of their replies, which fails by the deadline.

        Raises
        ------
        StoreReadError
            No connection stands, or too many commands are in flight already.
        """
        best: Connection | None = None
        longest, in_flight = -1.0, 0
        slow = asyncio.get_running_loop().time() - SLOW_SECONDS
        for connection in self._slots if count <= LARGE_CALL else reversed(self._slots):
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
            raise StoreReadError("unreachable")
        if in_flight and self.in_flight + count > self.most:
            self.refused += 1
            raise StoreReadError("overload")
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

    async def _open(self) -> Connection | None:
        """Return a connection that has let us in and answered a PING within the deadline, or none."""
        self._probing += 1
        loop = asyncio.get_running_loop()
        connection: Connection | None = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: Connection(self.seconds),
                    self.store.host,
                    self.store.port,
                    ssl=ssl.create_default_context() if self.store.tls else None,
                )
            hello = self._hello()
            replies = await connection.call(b"".join(encode_command(part) for part in hello), len(hello), 0)
            if any(isinstance(reply, hiredis.ReplyError) for reply in replies):
                raise StoreReadError("unreachable")
        except (OSError, TimeoutError, StoreReadError):
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

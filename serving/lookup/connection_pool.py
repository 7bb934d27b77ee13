"""Connections to the online store, kept up in the background; the open circuit is when none stands.

All calls of one turn of the event loop leave in one write; replies are matched by their order alone, so a connection
that was late, broken or made no sense is closed and every call that waited on it fails. Nothing is tried twice: the
caller has another rung to stand on. With no connection left every call fails at once; the background keeps probing
with a PING, at most ``LONGEST_PAUSE`` apart.
"""

import asyncio
import ssl
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

import hiredis

from rapport_feast.resp import encode_command
from rapport_feast.row.address import OnlineStore
from serving.lookup.connection import Connection, StoreReadError, StoreUnreachable, TooManyReads

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

    Parameters
    ----------
    deadline
        Seconds within which the store must answer.
    max_in_flight
        Commands beyond which a further call is refused, unless it is the only one.
    discarded
        Counts the connections thrown away, by reason.
    """

    def __init__(
        self,
        store: OnlineStore,
        *,
        connections: int = CONNECTIONS,
        deadline: float = ANSWER_SECONDS,
        max_in_flight: int = MAX_IN_FLIGHT,
        discarded: Counter[str] | None = None,
    ) -> None:
        self.store = store
        self.deadline = deadline
        self.max_in_flight = max_in_flight
        self.discarded: Counter[str] = Counter() if discarded is None else discarded
        self.refused = 0
        self._slots: list[Connection | None] = [None] * connections
        self._failures = 0
        self._probing = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._connected = asyncio.Event()

    def start(self) -> None:
        """Begin to connect."""
        self._tasks = [asyncio.create_task(self._keep_connected(slot)) for slot in range(len(self._slots))]

    async def close(self) -> None:
        """Close every connection; calls that still wait fail."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._slots:
            if connection is not None:
                connection.discard(StoreUnreachable)

    @property
    def is_connected(self) -> bool:
        """Whether a connection stands."""
        return any(connection is not None for connection in self._slots)

    @property
    def breaker(self) -> Literal["closed", "half-open", "open"]:
        """State of the circuit: open is when calls fail at once."""
        return "closed" if self.is_connected else "half-open" if self._probing else "open"

    @property
    def in_flight(self) -> int:
        """How many commands wait for their replies."""
        return sum(connection.in_flight for connection in self._slots if connection is not None)

    async def wait(self, deadline: float) -> bool:
        """Wait until a connection stands; return whether one does."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._connected.wait(), deadline)
        return self.is_connected

    def call(self, commands: bytes, count: int = 1, width: int = 0) -> "asyncio.Future[list[Any]]":
        """Send encoded commands and return the future of their replies, which fails by the deadline.

        Raises
        ------
        StoreUnreachable
            No connection stands.
        TooManyReads
            Too many commands are in flight already.
        """
        best: Connection | None = None
        longest, in_flight = -1.0, 0
        slow = asyncio.get_running_loop().time() - SLOW_SECONDS
        for connection in self._slots if count <= LARGE_CALL else reversed(self._slots):
            if connection is None:
                continue
            in_flight += connection.in_flight
            oldest = connection.waiting[0].sent_at if connection.waiting else None
            if oldest is None or oldest > slow:
                best = connection
                break
            if oldest > longest:
                best, longest = connection, oldest
        if best is None:
            raise StoreUnreachable
        if in_flight and self.in_flight + count > self.max_in_flight:
            self.refused += 1
            raise TooManyReads
        return best.call(commands, count, width)

    async def _keep_connected(self, slot: int) -> None:
        while True:
            connection = await self._open()
            if connection is not None:
                self._slots[slot] = connection
                connection.has_replied = False
                self._connected.set()
                error = await connection.closed
                self.discarded[error.reason] += 1
                self._slots[slot] = None
                if not self.is_connected:
                    self._connected.clear()
                if connection.has_replied:
                    self._failures = 0
            if connection is None or not connection.has_replied:
                # A server that takes PINGs and answers nothing else is as good as none.
                self._failures += 1
            await asyncio.sleep(min(LONGEST_PAUSE, SHORTEST_PAUSE * 2 ** min(self._failures, 8)))

    async def _open(self) -> Connection | None:
        """Return a connection that has accepted the login and answered a PING within the deadline, or none."""
        self._probing += 1
        loop = asyncio.get_running_loop()
        connection: Connection | None = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: Connection(self.deadline),
                    self.store.host,
                    self.store.port,
                    ssl=ssl.create_default_context() if self.store.tls else None,
                )
            handshake = self._handshake()
            replies = await connection.call(b"".join(encode_command(part) for part in handshake), len(handshake), 0)
            if any(isinstance(reply, hiredis.ReplyError) for reply in replies):
                raise StoreUnreachable
        except (OSError, TimeoutError, StoreReadError):
            if connection is not None:
                connection.discard(StoreUnreachable)
            return None
        except BaseException:
            if connection is not None:
                connection.discard(StoreUnreachable)
            raise
        finally:
            self._probing -= 1
        return connection

    def _handshake(self) -> list[Sequence[str | bytes]]:
        store = self.store
        login = [part for part in (store.username, store.password) if part] if store.password else []
        handshake: list[Sequence[str | bytes]] = [("AUTH", *login)] if login else []
        return [*handshake, *([("SELECT", str(store.db))] if store.db else []), ("PING",)]

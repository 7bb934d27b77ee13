"""A TCP proxy that does to a connection what networks and servers do: delay, cut, garble, refuse, freeze."""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Weather:
    """What happens to what the server sends; changed while the proxy runs.

    Attributes
    ----------
    delay
        Seconds by which every reply is late.
    slow_share, slow_delay
        Share of the replies that are late by ``slow_delay``; what follows on their connection waits behind them.
    cut_share
        Share of the replies of which half is sent before the connection is closed.
    garbage_share
        Share of the replies in front of which stand bytes that are no protocol.
    refuse
        Close every connection at once.
    freeze
        Take everything and answer nothing.
    """

    delay: float = 0.0
    slow_share: float = 0.0
    slow_delay: float = 0.0
    cut_share: float = 0.0
    garbage_share: float = 0.0
    refuse: bool = False
    freeze: bool = False
    chance: random.Random = field(default_factory=lambda: random.Random(1))


class Proxy:
    """A proxy in front of a port, in a thread of its own.

    Attributes
    ----------
    port
        Where it listens.
    weather
        What it does.
    replies
        How many pieces went back.
    """

    def __init__(self, port: int) -> None:
        self.behind = port
        self.port = 0
        self.weather = Weather()
        self.replies = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._open: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self._ready.wait(10)

    def stop(self) -> None:
        """Close every connection and end."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def cut(self) -> None:
        """Close every connection that stands."""
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._open])

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in self._open:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._open, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
        there: asyncio.StreamWriter | None = None
        with suppress(OSError, asyncio.CancelledError):
            if not self.weather.refuse:
                here, there = await asyncio.open_connection("127.0.0.1", self.behind)
                ways = {asyncio.create_task(self._pass(reader, there)), asyncio.create_task(self._back(here, writer))}
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
        for side in (writer, there):
            if side is not None and side.transport is not None:
                side.transport.abort()
        if task is not None:
            self._open.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            while self.weather.freeze:
                await asyncio.sleep(0.01)
            weather = self.weather
            chance = weather.chance.random
            if weather.delay:
                await asyncio.sleep(weather.delay)
            if weather.slow_share and chance() < weather.slow_share:
                await asyncio.sleep(weather.slow_delay)
            if weather.garbage_share and chance() < weather.garbage_share:
                data = b"\xff\x00garbage" + data
            if weather.cut_share and chance() < weather.cut_share:
                writer.write(data[: len(data) // 2])
                await writer.drain()
                return
            self.replies += 1
            writer.write(data)
            await writer.drain()


@contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    """Run a proxy in front of a port."""
    one = Proxy(port)
    one.start()
    try:
        yield one
    finally:
        one.stop()

"""The features of conversations, compiled once per process in a thread; one query answers all who wait."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from features.stream.turns import Conversation
from serving.errors import DeadlineExceeded, ServiceStarting

COMPUTE_SECONDS = 2.0
MAX_BATCH = 64


class ConversationFeatures(Protocol):
    """The compiled features of conversations; only one thread asks at a time."""

    def values(self, asked: Sequence[Conversation]) -> list[dict[str, Any]]:
        """Return feature = value for each conversation."""
        ...

    def close(self) -> None:
        """Give back what they hold."""
        ...


class CompiledFeatures:
    """The compiled features behind one thread; all who wait while it computes are answered by its next query.

    Parameters
    ----------
    compile
        How they are made: it takes a second or more.
    """

    def __init__(self, compile: Callable[[], ConversationFeatures]) -> None:
        self._compile = compile
        self._thread = ThreadPoolExecutor(1, "sessions")
        self._ready: Future[ConversationFeatures] | None = None
        self._waiting: list[tuple[Conversation, asyncio.Future[dict[str, Any]]]] = []
        self._running: asyncio.Task[None] | None = None

    def start(self) -> Future[ConversationFeatures]:
        """Begin to compile; the result says when it is done, or what went wrong."""
        self._ready = self._thread.submit(self._compile)
        return self._ready

    async def values(self, asked: Conversation) -> dict[str, Any]:
        """Return the features of one conversation.

        Raises
        ------
        ServiceStarting
            They are still being compiled.
        DeadlineExceeded
            Too many wait.
        """
        if self._ready is None or not self._ready.done():
            raise ServiceStarting("The features of conversations are still being compiled.")
        result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, result))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(self._ready.result()))
        try:
            async with asyncio.timeout(COMPUTE_SECONDS):
                return await result
        except TimeoutError as error:
            raise DeadlineExceeded(f"The features of a conversation took longer than {COMPUTE_SECONDS} s.") from error

    async def _run(self, compile: ConversationFeatures) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            batch = [(asked, result) for asked, result in batch if not result.done()]
            try:
                rows = await loop.run_in_executor(self._thread, compile.values, [asked for asked, _ in batch])
            except Exception as error:  # noqa: BLE001 - it belongs to those who wait for it
                for _, result in batch:
                    if not result.done():
                        result.set_exception(error)
                continue
            for (_, result), values in zip(batch, rows, strict=True):
                if not result.done():
                    result.set_result(values)

    def close(self) -> None:
        """End the thread and give back what was compiled."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._ready is not None and not self._ready.cancelled() and self._ready.exception() is None:
            self._ready.result().close()
            self._ready = None

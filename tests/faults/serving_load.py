"""The service in a process of its own, and a steady load on it that keeps every answer with its time."""

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from infra.redis.embedded import server_binary
from infra.settings import ROOT
from rapport_feast.row.address import OnlineStore
from tests.contract.serving_setup import VIEWS, free_port, publish_views, workspace

PROGRAM = """
import sys
from datetime import datetime
from pathlib import Path
from infra.company.company import Company
from infra.settings import Settings
from infra.workspace import Workspace
from serving.http.server import serve
company = Company(name="small", title="small", sources=())
serve(Workspace(Settings(home=Path(sys.argv[1]), redis_url=sys.argv[2]), company), int(sys.argv[3]))
"""


@dataclass
class Answer:
    """An answer, when it was asked for and how long it took, in seconds."""

    at: float
    took: float
    status: int
    content: dict[str, Any]

    @property
    def told(self) -> dict[str, Any]:
        """What stands beside Feast's form."""
        said: dict[str, Any] = self.content["rapport"]
        return said

    @property
    def values(self) -> dict[str, Any]:
        """The first value of each column."""
        names = self.content["metadata"]["feature_names"]
        return {name: column["values"][0] for name, column in zip(names, self.content["results"], strict=True)}

    @property
    def statuses(self) -> set[str]:
        """The statuses of all features."""
        return {column["statuses"][0] for column in self.content["results"][1:]}

    @property
    def reasons(self) -> set[str]:
        """Why values are not of their first rung."""
        return {one["reason"] for one in self.told["fallbacks"]}


@dataclass
class Server:
    """A stock server that a test may kill, freeze and start again on its port."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it, empty."""
        words = [str(server_binary()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen([*words, "--dir", str(self.folder)], stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while not self.store.answers():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self.process.wait()

    @property
    def store(self) -> OnlineStore:
        """Its address."""
        return OnlineStore("127.0.0.1", self.port, "small")


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    """Run a stock server."""
    one = Server(folder)
    one.start()
    try:
        yield one
    finally:
        if one.process is not None and one.process.poll() is None:
            one.process.send_signal(signal.SIGCONT)
            one.process.kill()
            one.process.wait()


@contextmanager
def service(home: Path, redis_port: int, views: Mapping[str, Any] = VIEWS) -> Iterator["Service"]:
    """Run ``rapport serve`` as a process over published views."""
    publish_views(workspace(home), views)
    port = free_port()
    words = [sys.executable, "-c", PROGRAM, str(home), f"redis://127.0.0.1:{redis_port}/0", str(port)]
    with (home / "service.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(ROOT)})
    one = Service(port, process)
    try:
        one.wait_until_ready()
        yield one
    finally:
        process.kill()
        process.wait()


@dataclass
class Service:
    """A running service."""

    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def wait_until_ready(self, seconds: float = 30) -> None:
        """Wait until everything is served."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError("the service did not become ready")

    def metric(self, name: str) -> float:
        """Return a counter, 0 before it was first counted."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)

    def memory(self) -> int:
        """Return the memory of the process in bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096

    def load(
        self, body: Mapping[str, Any], rate: float, seconds: float, *happenings: tuple[float, Any]
    ) -> list[Answer]:
        """Send requests at fixed times, whether or not the ones before were answered; do things meanwhile.

        Parameters
        ----------
        happenings
            Seconds after the begin, and what is called then.
        """
        return asyncio.run(self._load(json.dumps(body).encode(), rate, seconds, happenings))

    async def _load(
        self, raw: bytes, rate: float, seconds: float, happenings: tuple[tuple[float, Any], ...]
    ) -> list[Answer]:
        loop, answers = asyncio.get_running_loop(), []
        free: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.LifoQueue()
        for _ in range(64):
            free.put_nowait(await asyncio.open_connection("127.0.0.1", self.port))
        head = f"POST /get-online-features HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n".encode()
        begun = loop.time() + 0.05

        async def one(due: float) -> None:
            reader, writer = await free.get()
            sent = loop.time()
            writer.write(head + raw)
            told = await reader.readuntil(b"\r\n\r\n")
            (size,) = (int(line[16:]) for line in told.lower().split(b"\r\n") if line.startswith(b"content-length: "))
            content = await reader.readexactly(size)
            took = loop.time() - sent
            answers.append((due - begun, took, int(told[9:12]), content))
            free.put_nowait((reader, writer))

        async def happen(after: float, what: Any) -> None:
            await asyncio.sleep(begun + after - loop.time())
            await asyncio.to_thread(what)

        tasks = [asyncio.create_task(happen(*each)) for each in happenings]
        for number in range(round(rate * seconds)):
            due = begun + number / rate
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.create_task(one(due)))
        await asyncio.gather(*tasks)
        return [Answer(at, took, status, json.loads(content)) for at, took, status, content in sorted(answers)]


def share(answers: list[Answer], part: float) -> float:
    """Return the time within which a part of the answers came."""
    took = sorted(answer.took for answer in answers)
    return took[max(math.ceil(len(took) * part) - 1, 0)]

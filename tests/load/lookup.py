"""Lookups of 50 features: requests per second beside ``feast serve`` on the same data, and an open loop of 1,000/s.

Both services have one worker and one stock server between them; their answers are compared before they are timed. The
load comes from ``wrk``, because a generator in Python would be measured instead of the service.
"""

import asyncio
import json
import math
import random
import shutil
import socket
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import redis

from infra.clock import cutoff
from infra.company.company import Company
from infra.redis.embedded import server_binary
from infra.settings import ROOT, Settings
from infra.workspace import Workspace
from rapport_feast.row.keys import entity_key, row_field
from rapport_feast.row.layout import FOREVER_US, Packing
from serving.http.server import serve
from tests.load.bench import Entry

FEATURES, CUSTOMERS, MANY = 50, 2_000, 100
CONNECTIONS, SECONDS, PAIRS = 32, 6, 3
RATE, OPEN_SECONDS, LIMIT_MS = 1_000, 20, 10.0
NIGHT = datetime.now(UTC).date() - timedelta(days=1)
VIEW, VERSION = "bench_0a1b2c3d", "0a1b2c3d"
NAMES = {f"f{place:02d}": "int64" if place % 5 == 0 else "float64" for place in range(FEATURES)}
LUA = """
local head, tail, many = %s, %s, %d
local seeded = false
request = function()
  local ids = {}
  for i = 1, many do ids[i] = string.format('"C%%06d"', math.random(0, %d - 1)) end
  return wrk.format("POST", "/get-online-features", {["Content-Type"] = "application/json"},
    head .. table.concat(ids, ",") .. tail)
end
"""


def run(folder: Path) -> list[Entry]:
    """Return the figures, once both services have answered the same."""
    if shutil.which("wrk") is None:
        raise SystemExit("lookup: wrk is missing; install the package wrk")
    with ExitStack() as stack:
        port = stack.enter_context(server(folder))
        rows = fill(folder, port)
        ours = stack.enter_context(started(folder, port))
        theirs = stack.enter_context(feast(folder, rows, port))
        compare(ours, theirs)
        entries = [
            beside(folder, ours, theirs, many, f"lookup: {FEATURES} features of {told}", bar)
            for many, told, bar in ((1, "one customer", 1 / 25), (MANY, f"{MANY} customers", 1 / 20))
        ]
        p99 = asyncio.run(open_loop(ours))
        name = f"lookup: p99 at {RATE}/s beside the limit"
        return [*entries, Entry.of(name, p99, LIMIT_MS, "ms", 1.0)]


def body(ids: list[str]) -> dict[str, Any]:
    """Return the request for all features of some customers."""
    return {"features": [f"{VIEW}:{name}" for name in NAMES], "entities": {"customer_id": ids}}


def compare(ours: int, theirs: int) -> None:
    """Refuse to time answers that differ."""
    asked = body([f"C{number:06d}" for number in range(0, CUSTOMERS, 37)])
    answers = []
    for port in (ours, theirs):
        answer = httpx.post(f"http://127.0.0.1:{port}/get-online-features", json=asked, timeout=60).json()
        names, results = answer["metadata"]["feature_names"], answer["results"]
        answers.append(
            {
                name: [column["values"], column["statuses"], column["event_timestamps"]]
                for name, column in zip(names, results, strict=True)
                if name != "customer_id"
            }
        )
    if answers[0] != answers[1] or len(answers[0]) != FEATURES:
        raise SystemExit("lookup: the answers differ, so their times say nothing")


def beside(folder: Path, ours: int, theirs: int, many: int, name: str, bar: float) -> Entry:
    """Return milliseconds per request of both, by turns."""
    script = folder / f"many{many}.lua"
    head, _, tail = json.dumps(body(["@"]), separators=(",", ":")).partition('"@"')
    script.write_text(LUA % (json.dumps(head), json.dumps(tail), many, CUSTOMERS))
    wrk(script, ours, 2), wrk(script, theirs, 2)
    runs = [(wrk(script, ours, SECONDS), wrk(script, theirs, SECONDS)) for _ in range(PAIRS)]
    ratio = statistics.median(mine / peer for mine, peer in runs)
    mine, peer = (statistics.median(side) for side in zip(*runs, strict=True))
    return Entry.of(name, mine, peer, "ms", bar, ratio)


def wrk(script: Path, port: int, seconds: int) -> float:
    """Return milliseconds per request under load."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{port}"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in told:
        raise SystemExit(f"lookup: answers that are no answers\n{told}")
    (rate,) = (float(line.split()[1]) for line in told.splitlines() if line.startswith("Requests/sec"))
    return 1000 / rate


async def open_loop(port: int) -> float:
    """Return the p99 in ms of requests sent at fixed times, counted from when each was due."""
    loop, late = asyncio.get_running_loop(), []
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", port))

    async def one(due: float, content: bytes) -> None:
        reader, writer = await free.get()
        writer.write(content)
        head = await reader.readuntil(b"\r\n\r\n")
        (size,) = (int(line[16:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: "))
        await reader.readexactly(size)
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"lookup: {head!r}")
        late.append(loop.time() - due)
        free.put_nowait((reader, writer))

    ids, tasks, begun = random.Random(7), set(), loop.time() + 0.1
    for number in range(RATE * OPEN_SECONDS):
        due = begun + number / RATE
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)
        raw = json.dumps(body([f"C{ids.randrange(CUSTOMERS):06d}"])).encode()
        head = f"POST /get-online-features HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n"
        task = asyncio.create_task(one(due, head.encode() + raw))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    late.sort()
    told = [f"p{share} {late[math.ceil(len(late) * share / 100) - 1] * 1000:.2f} ms" for share in (50, 99, 99.9)]
    print(f"lookup: {len(late):,} requests at {RATE}/s: {', '.join(told)}")
    return late[math.ceil(len(late) * 0.99) - 1] * 1000


@contextmanager
def server(folder: Path) -> Iterator[int]:
    """Run the stock server, Redis if there is one, else Valkey."""
    port = free_port()
    home = folder / "redis"
    home.mkdir()
    binary = shutil.which("redis-server") or str(server_binary())
    words = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(home)]
    with running(words, home):
        wait_for(lambda: redis.Redis(port=port).ping())
        yield port


@contextmanager
def started(folder: Path, redis_port: int) -> Iterator[int]:
    """Run our service."""
    port, home = free_port(), folder / "ours"
    with running([sys.executable, "-m", "tests.load.lookup", str(home), str(redis_port), str(port)], folder):
        wait_for(lambda: httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200)
        yield port


@contextmanager
def feast(folder: Path, rows: pd.DataFrame, redis_port: int) -> Iterator[int]:
    """Write the rows through Feast and run its server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
        from feast.types import Float64, Int64, String
    repo, port = folder / "feast", free_port()
    repo.mkdir()
    settings = {
        "project": "small", "provider": "local", "registry": str(repo / "registry.db"),
        "online_store": {"type": "redis", "connection_string": f"127.0.0.1:{redis_port}"},
        "entity_key_serialization_version": 3,
    }  # fmt: skip
    (repo / "feature_store.yaml").write_text(json.dumps(settings))
    rows.to_parquet(repo / "rows.parquet")
    source = FileSource(path=str(repo / "rows.parquet"), timestamp_field="event_time")
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    schema = [Field(name=name, dtype=Int64 if dtype == "int64" else Float64) for name, dtype in NAMES.items()]
    schema.append(Field(name="customer_id", dtype=String))
    store = FeatureStore(repo_path=str(repo))
    view = FeatureView(name=VIEW, entities=[customer], schema=schema, source=source, ttl=timedelta(0))
    store.apply([customer, view])
    store.write_to_online_store(VIEW, rows)
    words = [str(Path(sys.executable).parent / "feast"), "-c", str(repo), "serve", "-p", str(port)]
    with running([*words, "-w", "1", "--no-access-log"], repo):
        wait_for(lambda: httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200)
        yield port


def fill(folder: Path, redis_port: int) -> pd.DataFrame:
    """Write packed rows and ``views.json``; return the rows."""
    ws = workspace(folder / "ours", redis_port)
    entry = {
        "group": "bench", "entity": "customer", "key": "customer_id", "features": NAMES, "version": VERSION,
        "freshness_seconds": 259_200, "served": "nightly", "prior": f"{VIEW}__prior", "defaults": {}, "empty": {},
    }  # fmt: skip
    views = {"project": "small", "night": str(NIGHT), "segment": None, "views": {VIEW: entry}}
    (ws.folder("feast") / "views.json").write_text(json.dumps(views))
    made, packing, at = np.random.default_rng(11), Packing(NAMES, VERSION), cutoff(NIGHT)
    values = {
        name: made.integers(0, 1000, CUSTOMERS) if dtype == "int64" else made.random(CUSTOMERS)
        for name, dtype in NAMES.items()
    }
    rows = pd.DataFrame({"customer_id": [f"C{number:06d}" for number in range(CUSTOMERS)], **values})
    event_us = round(at.timestamp() * 1_000_000)
    with redis.Redis(port=redis_port).pipeline(transaction=False) as pipe:
        for row in rows.itertuples(index=False):
            key: Any = entity_key("small", {"customer_id": ("string", row[0])})
            pipe.hset(key, row_field(VIEW), packing.pack(event_us, event_us, FOREVER_US, row[1:]))  # type: ignore[arg-type]
        pipe.execute()
    return rows.assign(event_time=pd.Series(at, index=rows.index).astype("datetime64[us, UTC]"))


def workspace(home: Path, redis_port: int) -> Workspace:
    """Return the workspace of our service."""
    home.mkdir(exist_ok=True)
    settings = Settings(home=home, redis_url=f"redis://127.0.0.1:{redis_port}/0")
    return Workspace(settings, Company(name="small", title="small", sources=()))


@contextmanager
def running(words: list[str], folder: Path) -> Iterator[None]:
    """Run a process until the end of the block."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, cwd=ROOT)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(answers: Any, seconds: float = 60) -> None:
    """Wait until something answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if answers():
                return
        except (redis.RedisError, httpx.HTTPError):
            pass
        if time.monotonic() > deadline:
            raise SystemExit("lookup: a server did not start")
        time.sleep(0.1)


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    serve(workspace(Path(sys.argv[1]), int(sys.argv[2])), int(sys.argv[3]))

"""A tiny company whose second night is run by children, with what there is before and after it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path

from features.catalogue import groups_of
from features.compute.build import build
from features.store.publish import publish
from infra.redis.embedded import embedded_server
from infra.redis.online_store import online_store_at
from infra.settings import ROOT
from infra.workspace import Workspace
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.keys import feature_field
from rapport_feast.times import DAY
from tests.run_nights import run
from tests.small_companies import NIGHT, deliver, source, workspace
from validation.bronze.ingest import ingest
from validation.gate.run import gate

CUSTOMERS = 12
NEXT = NIGHT + DAY
CHANGED = ("lake/tiles", "lake/features", "feast")
Online = dict[bytes, dict[bytes, bytes]]
Checksums = dict[str, dict[str, str]]


class ForkServer:
    """A process that runs steps in children of its own and kills them."""

    def __init__(self, ws: Workspace) -> None:
        environment = os.environ | ws.environment() | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.faults.fork_server", str(NEXT)],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, step: str, night: date, seconds: float = 60.0, largest: int = -1) -> tuple[int, float]:
        """Run a step, killed after some seconds; return its exit code (-9: killed) and how long it lived."""
        assert self.process.stdin
        print(step, night, seconds, largest, file=self.process.stdin, flush=True)
        _, code, taken = self.line().split()
        return int(code), float(taken)

    def line(self) -> str:
        """Return the next line that the process says."""
        assert self.process.stdout
        return self.process.stdout.readline()


@contextmanager
def fork_server(ws: Workspace) -> Iterator[ForkServer]:
    """Start a fork server that has imported everything, and end it."""
    started = ForkServer(ws)
    try:
        assert started.line() == "ready\n"
        yield started
    finally:
        started.process.kill()
        started.process.wait()


class ResettableCompany:
    """A tiny company whose first night is done, with the states before and after its second."""

    def __init__(self, home: Path, url: str) -> None:
        # The fact whose groups are the quickest to build.
        columns = list(consent(NIGHT, 0))
        self.ws = workspace(home, source("consents", columns), redis_url=url, threads=1)
        self.store: OnlineStore = online_store_at(url, self.ws.company.name)
        for night in (NIGHT, NEXT):
            rows = [consent(night, i) for i in range(CUSTOMERS)]
            deliver(home, f"consents-{night}.csv", rows, columns)
        run(self.ws, [NIGHT])
        publish(self.ws, NIGHT)
        ingest(self.ws, NEXT)
        gate(self.ws, NEXT)
        self.saved = home / "saved"
        self.save("before")
        self.before, self.online_before = self.checksums(), self.online()
        build(self.ws, NEXT)
        self.save("built")
        publish(self.ws, NEXT)
        self.after, self.online_after = self.checksums(), self.online()
        self.digests, self.online_digest = self.offline(), self.store.digest()
        assert self.before != self.after
        assert self.online_before != self.online_after

    def save(self, state: str) -> None:
        """Keep the state of the tables and records that the steps write."""
        for folder in CHANGED:
            shutil.copytree(self.ws.root / folder, self.saved / state / folder, symlinks=True)

    def reset(self, state: str = "before") -> None:
        """Go back to before the second night, or to when it was built and not published."""
        for folder in CHANGED:
            shutil.rmtree(self.ws.root / folder)
            shutil.copytree(self.saved / state / folder, self.ws.root / folder, symlinks=True)
        with self.store.client() as client, client.pipeline() as pipe:
            pipe.flushdb()
            for key, fields in self.online_before.items():
                pipe.hset(key, mapping=fields)
            pipe.execute()

    def checksums(self) -> Checksums:
        """Return per table and night the checksum of its file, checked by the lake; equal rows make equal files."""
        tables = [table for table in self.ws.lake.tables() if table.startswith(("tiles/", "features/"))]
        assert len(tables) == 2 * len(groups_of(self.ws.company))
        found: Checksums = {}
        for table in tables:
            files = [Path(file) for file in self.ws.lake.files(table)]
            found[table] = {file.parent.name: file.name.partition("-")[0] for file in files}
            assert len(found[table]) == len(files), "one file a night"
        return found

    def online(self) -> Online:
        """Return everything that is online."""
        keys = self.store.keys()
        with self.store.client() as client, client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hgetall(key)
            return dict(zip(keys, pipe.execute(), strict=True))

    def offline(self) -> dict[str, dict[date, str]]:
        """Return the digest of every night of every table that the steps write."""
        return {table: self.ws.lake.digests(table) for table in self.before}

    def check(self) -> None:
        """Check that whatever can be read now is whole: each night of a table, each row of the online store."""
        for table, nights in self.checksums().items():
            assert nights in (self.before[table], self.after[table]), table
        for key, fields in self.online().items():
            for group in groups_of(self.ws.company):
                names = [feature_field(group.view, feature.name) for feature in group.outputs]
                names.append(f"_ts:{group.view}".encode())
                row, old, new = (
                    {name: held[name] for name in names if name in held}
                    for held in (fields, self.online_before.get(key, {}), self.online_after[key])
                )
                assert row in (old, new), (key, group.view)
        for file in (self.ws.root / "feast").glob("*.json"):
            assert json.loads(file.read_text())

    def check_done(self) -> None:
        """Check that nothing tells this from a run that was never killed, and that nothing was left lying about."""
        assert self.offline() == self.digests
        assert self.store.digest() == self.online_digest
        assert strays(self.ws) == []


def consent(night: date, number: int) -> dict[str, str]:
    """Return what a customer said on a night."""
    when = {"event_time": f"{night}T10:00:00Z", "exported_at": f"{night}T10:05:00Z"}
    told = {"purpose": "marketing", "kind": ("granted", "withdrawn")[(number + night.day) % 2]}
    return {"event_id": f"{night}-{number}", "source_id": f"C{number}", **when, **told}


def strays(ws: Workspace) -> list[str]:
    """Return the files of a state that no table, view or record names."""
    named: set[str] = set()
    for log in (ws.root / "lake").glob("**/_delta_log/*.json"):
        lines = map(json.loads, log.read_text().splitlines())
        named |= {str(log.parent.parent / line["add"]["path"]) for line in lines if "add" in line}
    data = {str(path) for path in (ws.root / "lake").glob("**/*.parquet")}
    odd = [p for p in ws.root.rglob("*") if p.name.endswith((".new", ".tmp", ".link")) or "#" in p.name]
    odd += [path for path in ws.root.rglob("*") if path.name.rpartition(".")[2].isdigit() and path.exists()]
    odd += list((ws.root / "lake" / ".spill").glob("*"))
    return sorted([*(data - named), *map(str, odd)])


@contextmanager
def resettable_companies(home: Path, number: int) -> Iterator[list[ResettableCompany]]:
    """Make some resettable_companies, each with an online store of its own."""
    with ExitStack() as stack:
        made = []
        for company in map(str, range(number)):
            (home / company / "valkey").mkdir(parents=True)
            address = stack.enter_context(embedded_server(home / company / "valkey"))
            made.append(ResettableCompany(home / company, f"redis://:{address.password}@127.0.0.1:{address.port}/0"))
        yield made

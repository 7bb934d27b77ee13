"""What every bench needs: runs in pairs, memory of a fresh process, and where the figures go.

A bench is a module beside this one with a function ``run(folder) -> list[Entry]``, named in ``__main__``. It compares
answers before it compares times.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from infra.settings import ROOT, Settings

PAIRS = 5
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
LIBRARIES = ("feast", "duckdb", "ibis-framework", "pyarrow", "deltalake")


@dataclass(frozen=True)
class Entry:
    """A figure of ours beside another, lower is better: the bar is the most that ``ours / peer`` may be."""

    name: str
    ours: float
    peer: float
    unit: str
    ratio: float
    bar: float
    holds: bool

    @classmethod
    def of(cls, name: str, ours: float, peer: float, unit: str, bar: float, ratio: float | None = None) -> "Entry":
        """Return the entry of two figures; ``ratio`` is given where it is the median over pairs."""
        ratio = ours / peer if ratio is None else ratio
        return cls(name, round(ours, 4), round(peer, 4), unit, round(ratio, 4), round(bar, 4), ratio <= bar)


def timed(
    name: str, ours: Callable[[], Any], peer: Callable[[], Any], bar: float, pairs: int = PAIRS, *, warm: bool = True
) -> Entry:
    """Run two things in turn, after a first run of each if ``warm``; the ratio is the median over the pairs."""
    if warm:
        ours(), peer()
    runs = [(seconds(ours), seconds(peer)) for _ in range(pairs)]
    ratio = statistics.median(mine / theirs for mine, theirs in runs)
    mine, theirs = (statistics.median(side) for side in zip(*runs, strict=True))
    return Entry.of(name, mine, theirs, "s", bar, ratio)


def seconds(work: Callable[[], Any]) -> float:
    """Return how long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_memory(module: str, *arguments: str) -> float:
    """Return the most memory, in MB, that ``python -m module arguments`` held: it prints its own ``peak``."""
    ran = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return float(ran.stdout.split()[-1])


def peak() -> float:
    """Return the most memory, in MB, that this process held; ``ru_maxrss`` would begin with that of its parent."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def record(fresh: list[Entry]) -> list[dict[str, Any]]:
    """Put figures in the place of those of the same name, in ``bench.json`` and on the page; return all of them."""
    path = Settings().home / "bench.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    named = {entry["name"]: entry for entry in (*before, *map(asdict, fresh))}
    entries = [named[name] for name in sorted(named)]
    path.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(head + BEGIN + table(entries) + END + rest.partition(END)[2], encoding="utf-8")
    return entries


def table(entries: list[dict[str, Any]]) -> str:
    """Return figures and machine as Markdown."""
    lines = ["| bench | ours | peer | ours / peer | bar | |", "|---|---:|---:|---:|---:|---|"]
    for entry in entries:
        ours, peer = (f"{entry[side]:,.3f}".rstrip("0").rstrip(".") for side in ("ours", "peer"))
        verdict = "holds" if entry["holds"] else "**fails**"
        figures = f"{ours} {entry['unit']} | {peer} {entry['unit']} | {entry['ratio']:.2f} | {entry['bar']:.2f}"
        lines.append(f"| {entry['name']} | {figures} | {verdict} |")
    return "\n".join(["", machine(), "", *lines, ""]) + "\n"


def machine() -> str:
    """Return what the figures were measured on, and when."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = models[0].partition(":")[2].strip() if models else platform.processor()
    memory = psutil.virtual_memory().total / 2**30
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"Last run {datetime.now(UTC):%Y-%m-%d}: {cpu}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()},"
        f" Python {platform.python_version()}, {libraries}."
    )

"""Nights as functions: what tests use to run some, to digest every table, and to begin again."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path

from features.compute.build import build
from infra.workspace import Workspace
from validation.bronze.ingest import ingest
from validation.gate.run import gate

Digests = dict[str, dict[date, str]]
BY_KNOWN_DAY = {"bronze", "silver", "quarantine", "duplicates"}
LAYERS = BY_KNOWN_DAY | {"tiles", "features"}


def run(ws: Workspace, nights: Iterable[date]) -> None:
    """Take nights from the sources to the features."""
    for night in nights:
        ingest(ws, night)
        gate(ws, night)
        build(ws, night)


def digests(ws: Workspace) -> Digests:
    """Return the digest of every night of every table from bronze to features."""
    tables = [table for table in ws.lake.tables() if layer(table) in LAYERS]
    assert {layer(table) for table in tables} == LAYERS
    partition = {table: "known_day" if layer(table) in BY_KNOWN_DAY else "night" for table in tables}
    return {table: ws.lake.digests(table, partition=partition[table]) for table in tables}


def layer(table: str) -> str:
    """Return the layer of the lake that a table belongs to."""
    return table.split("/")[0]


def again(ws: Workspace, home: Path, *, skip_unchanged: bool = True) -> Workspace:
    """Return the same company with an empty state, over the same outside world."""
    fresh = replace(ws, settings=ws.settings.model_copy(update={"home": home, "skip_unchanged": skip_unchanged}))
    fresh.root.mkdir(parents=True)
    (fresh.root / "world").symlink_to(ws.folder("world"))
    return fresh

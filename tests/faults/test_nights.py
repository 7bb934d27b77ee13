"""Night by night, in one pass, out of order, and without the no-op check: the digests of every table are equal."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from features.build import build
from infra.workspace import Workspace
from rapport import world
from validation.arrivals import first_night
from validation.gate import gate
from validation.ingest import ingest

Digests = dict[str, dict[date, str]]


def run(ws: Workspace, nights: Iterable[date]) -> None:
    for night in nights:
        ingest(ws, night)
        gate(ws, night)
        build(ws, night)


def digests(ws: Workspace) -> Digests:
    tables = ws.lake.tables()
    assert {table.split("/")[0] for table in tables} >= {
        "bronze",
        "silver",
        "quarantine",
        "duplicates",
        "tiles",
        "features",
    }
    return {table: table_digests(ws, table) for table in tables}


def table_digests(ws: Workspace, table: str) -> dict[date, str]:
    daily = table.split("/")[0] in {"bronze", "silver", "quarantine", "duplicates"}
    return ws.lake.digests(table, partition="known_day" if daily else "night")


def again(ws: Workspace, home: Path, *, skip_unchanged: bool = True) -> Workspace:
    """Return the same company with an empty state, over the same outside world."""
    fresh = replace(ws, settings=ws.settings.model_copy(update={"home": home, "skip_unchanged": skip_unchanged}))
    fresh.root.mkdir(parents=True)
    (fresh.root / "world").symlink_to(ws.folder("world"))
    return fresh


@pytest.mark.row("T5")
@pytest.mark.row("T6")
@pytest.mark.slow
def test_every_way_to_run_the_nights_gives_the_same_digests(
    workspace: Callable[..., Workspace], tmp_path: Path
) -> None:
    once = workspace(customers=60, days=12)
    world.ensure(once)
    first = first_night(once)
    nights = [first + timedelta(days=i) for i in range(12)]
    run(once, nights[-1:])
    expected = digests(once)
    assert sum(len(days) for days in expected.values()) > 100

    daily = again(once, tmp_path / "daily")
    run(daily, nights)
    assert digests(daily) == expected

    # Night 2 again after night 12, with late and revised facts known since.
    run(daily, [nights[1]])
    assert digests(daily) == expected

    forced = replace(daily, settings=daily.settings.model_copy(update={"skip_unchanged": False}))
    run(forced, [nights[1], nights[-1]])
    assert digests(forced) == expected

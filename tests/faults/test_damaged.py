"""A torn or changed file of the lake: reads refuse it, it is set aside with its reason, and the night is built anew."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from features.compute.build import build
from infra.clock import Nights
from infra.lake.lake import DAMAGED
from infra.workspace import Workspace
from rapport_feast.errors import Rejected, Terminal
from rapport_feast.times import DAY
from tests.conftest import CopyRing
from tests.run_nights import BY_KNOWN_DAY, layer
from validation.bronze.ingest import ingest
from validation.gate.run import gate
from validation.sources.coverage import last_night


def truncate(path: Path) -> None:
    """Cut the end off a file."""
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    """Change one byte in the middle of a file, and nothing that a directory listing shows."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert path.stat().st_size == before.st_size


def again(ws: Workspace, night: date) -> None:
    """Run the steps of a night that write the lake."""
    for step in (ingest, gate, build):
        step(ws, night)


def partition_of(table: str) -> str:
    """Return the partition column of a table."""
    return "known_day" if layer(table) in BY_KNOWN_DAY else "night"


def newest_of(ws: Workspace, room: str, until: date) -> tuple[str, date]:
    """Return a table of a room and its newest night with rows, up to a night."""
    found = [
        (date.fromisoformat(Path(file).parent.name.partition("=")[2]), table)
        for table in ws.lake.tables()
        if layer(table) == room
        for file in ws.lake.files(table, Nights(date.min, until), partition=partition_of(table))
    ]
    night, table = max(found)
    return table, night


ROOMS = ("bronze", "silver", "quarantine", "duplicates", "tiles", "features")
DAMAGES: tuple[Callable[[Path], None], ...] = (truncate, flip)


@pytest.mark.row("F9")
@pytest.mark.assure
def test_a_damaged_file_is_refused_set_aside_and_its_night_built_anew(copy_ring: CopyRing) -> None:
    """Every room of the lake, a night of some time ago, which the first run closed with all the others."""
    ws = copy_ring()
    last = last_night(ws)
    for number, room in enumerate(ROOMS):
        table, night = newest_of(ws, room, last - 5 * DAY)
        partition, nights = partition_of(table), Nights(night, night)
        whole = ws.lake.digests(table, partition=partition)
        (file,) = map(Path, ws.lake.files(table, nights, partition=partition))
        DAMAGES[number % 2](file)

        readers = (ws.lake.files, ws.lake.read, ws.lake.digests)
        for read in (*readers, *readers):
            with pytest.raises(Terminal) as error:
                read(table, nights, partition=partition)
            assert "\n" not in str(error.value)
            assert [
                word for word in (table, str(night), file.name, "nightly --night") if word not in str(error.value)
            ] == []
        with pytest.raises(Terminal):
            ws.lake.read(table, partition=partition)
        assert ws.lake.owner(table, night) is None
        assert len(ws.lake.digests(table, Nights(date.min, night - DAY), partition=partition)) == sum(
            n < night for n in whole
        )
        aside = ws.root / "lake" / DAMAGED / table / file.parent.name / file.name
        assert not file.exists()
        assert aside.exists()
        assert "other bytes" in aside.with_suffix(".txt").read_text()

        again(ws, night)
        assert ws.lake.digests(table, partition=partition) == whole
        assert ws.lake.owner(table, night) is not None


def test_bronze_is_not_made_from_a_source_that_says_something_else_now(copy_ring: CopyRing) -> None:
    """The file that was read must be the same; otherwise the refusal names it."""
    ws = copy_ring()
    night = last_night(ws) - 5 * DAY
    source = next(source for source in ws.company.sources if source.nightly)
    table = f"bronze/{source.name}"
    (file,) = map(Path, ws.lake.files(table, Nights(night, night), partition="known_day"))
    file.unlink()
    world = ws.folder("world")
    kept = [path for path in world.rglob(f"*{night}*") if path.is_file() and source.name in str(path)]
    assert kept
    for path in kept:
        path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(Rejected, match=rf"source {source.name}.*as it was read.*Put the file back"):
        ingest(ws, night)


@pytest.mark.row("F9")
def test_a_damaged_log_is_refused_in_one_sentence(copy_ring: CopyRing) -> None:
    ws = copy_ring()
    table, _ = newest_of(ws, "features", last_night(ws))
    log = max((ws.root / "lake" / table / "_delta_log").glob("*.json"))
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    with pytest.raises(Terminal) as error:
        ws.lake.read(table)
    assert "\n" not in str(error.value)

"""The Parquet files of gold as Feast's DuckDB store can read them.

A Delta table's folder also holds the files of its older versions, and Feast would read those too. So each view has a
folder of hard links to the current files alone, swapped in whole. This goes when the project's own offline store comes,
which asks the Delta table.
"""

import hashlib
import os
import shutil
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features.build import features_table
from features.spec import Group
from infra.errors import Rejected
from infra.locks import alone
from infra.workspace import Workspace


def source_folder(ws: Workspace) -> Path:
    """Return the folder that holds one folder of Parquet files for each view."""
    folder = ws.folder("feast") / "source"
    folder.mkdir(exist_ok=True)
    return folder


def refresh(ws: Workspace, group: Group) -> None:
    """Bring the files of a view in step with its table, all at once; a reader keeps the set it began with.

    Raises
    ------
    Rejected
        The table was never built.
    """
    table, folder = features_table(group), source_folder(ws)
    if not ws.lake.exists(table):
        raise Rejected(f"table {table}", "a table that the build step wrote", "none", "Run the nightly ring first.")
    with alone(folder / f".{group.view}.lock"):
        _refresh(folder / group.view, ws.lake.files(table), ws.lake.schema(table))


def _refresh(current: Path, files: list[str], schema: pa.Schema) -> None:
    wanted = current.with_name(f".{current.name}.{hashlib.sha256(chr(10).join(files).encode()).hexdigest()[:16]}")
    if current.is_symlink() and current.readlink() == Path(wanted.name):
        return
    fresh = current.with_name(f"{wanted.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for number, file in enumerate(files):
        _link(Path(file), fresh / f"{number:06d}.parquet")
    if not files:
        pq.write_table(schema.empty_table(), fresh / "empty.parquet")
    _swap(current, fresh, wanted)


def _link(file: Path, place: Path) -> None:
    try:
        place.hardlink_to(file)
    except OSError:
        shutil.copyfile(file, place)


def _swap(current: Path, fresh: Path, wanted: Path) -> None:
    before = current.readlink().name if current.is_symlink() else ""
    if wanted.exists():
        shutil.rmtree(fresh)
    else:
        fresh.rename(wanted)
    link = fresh.with_name(f"{fresh.name}.link")
    link.unlink(missing_ok=True)
    link.symlink_to(wanted.name)
    link.replace(current)
    for old in current.parent.glob(f".{current.name}.*"):
        if old.is_dir() and old.name not in {before, wanted.name}:
            shutil.rmtree(old, ignore_errors=True)


def identities(ws: Workspace, group: Group) -> dict[date, str]:
    """Return for each night of a view's table what its rows are known by: the names of its files."""
    names: dict[date, list[str]] = {}
    for file in map(Path, ws.lake.files(features_table(group))):
        names.setdefault(date.fromisoformat(file.parent.name.partition("=")[2]), []).append(file.name)
    return {night: hashlib.sha256("".join(files).encode()).hexdigest()[:16] for night, files in sorted(names.items())}

"""Small companies for the tests of the door: a company file, its files and a workspace whose clock stands still."""

import csv
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.clock import FixedClock
from infra.settings import Settings
from infra.workspace import Workspace, open_workspace

Row = Mapping[str, Any]
CLOCK = FixedClock(datetime(2026, 11, 21, 6, tzinfo=UTC))
NIGHT = date(2026, 5, 25)
ORDER = {
    "event_id": "1",
    "source_id": "C1",
    "event_time": "2026-05-25T10:00:00Z",
    "kind": "order",
    "order_id": "O1",
    "product": "lamp",
    "quantity": "1",
    "amount_minor": "500",
    "currency": "EUR",
    "revision": "",
    "retracted": "",
    "exported_at": "2026-05-25T10:05:00Z",
}


def source(fact: str, columns: Sequence[str], adapter: str = "csv", path: str = "", **more: object) -> str:
    """Return a source of a company file that reads columns under their own names, one file a night."""
    path = path or f"in/{fact}-{{night}}.{adapter}"
    stated = {"name": fact, "adapter": adapter, "fact": fact, "path": path, "id_space": "crm", **more}
    stated |= {"available": "exported_at"} if "exported_at" in columns else {}
    head = "\n".join(f"{key} = {json.dumps(value)}" for key, value in stated.items())
    lines = "\n".join(f'{name} = "{name}"' for name in columns if name != "exported_at")
    return f"[[sources]]\n{head}\n[sources.columns]\n{lines}\n"


def workspace(home: Path, *sources: str, **settings: Any) -> Workspace:
    """Return the workspace of a company with these sources; its files lie in ``in/``."""
    (home / "in").mkdir(parents=True, exist_ok=True)
    (home / "company.toml").write_text('name = "tiny"\ntitle = "Tiny"\n[identity]\ncrm = ""\n' + "".join(sources))
    return open_workspace(Settings(home=home / "state", company=home / "company.toml", **settings), CLOCK)


def deliver(home: Path, name: str, rows: Sequence[Row], columns: Sequence[str] = ()) -> Path:
    """Write a file of ``in/`` in the format of its name; empty text is a missing value."""
    path = home / "in" / name
    columns = columns or list(rows[0])
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, columns)
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in columns}), path)
    return path


def orders(home: Path, **settings: Any) -> Workspace:
    """Return the workspace of a company with one nightly file of orders."""
    return workspace(home, source("transactions", list(ORDER), max_rejected=1.0), **settings)


def digests(ws: Workspace, *rooms: str) -> dict[str, dict[date, str]]:
    """Return the digests of every table of some rooms of the lake."""
    tables = [table for table in ws.lake.tables() if table.split("/")[0] in rooms]
    return {table: ws.lake.digests(table, partition="known_day") for table in tables}

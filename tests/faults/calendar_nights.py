"""A program that runs the nights around odd days by the machine's clock, and prints what came of them as JSON.

Its arguments are a folder with one company for each span of days, a name for its state, and the file by which
``faketime`` is told the time, if it is: the clock jumps back 20 minutes after the first step of each company.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from features.compute.build import build
from infra.settings import Settings
from infra.workspace import open_workspace
from validation.bronze.ingest import ingest
from validation.gate.run import gate
from validation.sources.coverage import last_night


def main(folder: Path, state: str, told: Path | None) -> None:
    """Run every company's nights in one pass and print the digests and the clicks that were counted."""
    found = {}
    for company in sorted(folder.glob("*/company.toml")):
        ws = open_workspace(Settings(company=company, home=folder / f"state-{state}" / company.parent.name))
        night = last_night(ws)
        began = datetime.now(UTC)
        ingest(ws, night)
        if told:
            told.write_text("-10m")
            assert datetime.now(UTC) < began, "the clock did not jump back: does this run under faketime?"
        gate(ws, night)
        build(ws, night)
        if told:
            told.write_text("+10m")
        tables = [table for table in ws.lake.tables() if not table.startswith("bronze")]
        partition = {table: ("night" if table.startswith(("tiles", "features")) else "known_day") for table in tables}
        digests = {t: {str(d): x for d, x in ws.lake.digests(t, partition=p).items()} for t, p in partition.items()}
        (features,) = (table for table in tables if table.startswith("features/"))
        rows = ws.lake.read(features).to_pylist()
        names = ("customer__views__24h", "customer__views__30d")
        counted = {str(row["night"]): [row[name] for name in names] for row in rows}
        found[company.parent.name] = {"digests": digests, "counted": counted}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]) if len(sys.argv) > 3 else None)

"""What the gate is to judge: the nights of a fact, the sources that feed it, and the digest of all they come from."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from infra.clock import Nights
from infra.company.source import Source
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from rapport_feast.times import DAY
from validation.contracts.language import Contract
from validation.contracts.own import contract_of
from validation.sources.coverage import first_night

OUTPUTS = ("quarantine", "duplicates", "silver")
CODE = ("contracts", "sources", "gate")


@dataclass(frozen=True)
class Batch:
    """The nights of one fact that the gate is to judge, with the sources that feed it."""

    contract: Contract
    sources: tuple[Source, ...]
    nights: Nights
    inputs: Mapping[date, str]


def batch(ws: Workspace, fact: str, night: date) -> Batch | None:
    """Return what is to be judged of a fact; None if its last run judged the very same (the no-op check).

    Raises
    ------
    Rejected
        The night was not ingested.
    """
    sources = tuple(source for source in ws.company.sources if source.fact == fact)
    contract = contract_of(sources[0])
    newest = ws.lake.newest(f"silver/{fact}")
    rerun = newest is not None and night <= newest
    nights = Nights(night if rerun else newest + DAY if newest else first_night(ws), night)
    made = Batch(contract, sources, nights, inputs(ws, contract, sources, nights))
    if not (rerun and ws.settings.skip_unchanged):
        return made
    owners = [owner for room in OUTPUTS if (owner := ws.lake.owner(f"{room}/{fact}", night))]
    judged = (owners[-1].notes or {}).get("inputs", {}).get(str(night)) if len(owners) == len(OUTPUTS) else None
    return None if judged == made.inputs[night] else made


def inputs(ws: Workspace, contract: Contract, sources: Sequence[Source], nights: Nights) -> dict[date, str]:
    """Return per night the digest of all that its rows come from: bronze, contract, company file and code.

    Raises
    ------
    Rejected
        The night was not ingested.
    """
    for source in sources:
        newest = ws.lake.newest(f"bronze/{source.name}")
        if newest is None or newest < nights.last:
            raise Rejected(
                "night", f"a night that was ingested from {source.name}", str(nights.last), "Run ingest first."
            )
    rooms = Path(__file__).parent.parent
    code = "".join(path.read_text(encoding="utf-8") for room in CODE for path in sorted((rooms / room).glob("*.py")))
    own = [one.path.read_bytes() for one in ws.company.folder.of("adapters")] if ws.company.folder else []
    rules = [contract, *(source.model_dump_json() for source in sources), code, *own]
    bronze = [ws.lake.digests(f"bronze/{source.name}", nights, partition="known_day") for source in sources]
    return {
        night: hashlib.sha256(repr([rules, [found.get(night, "") for found in bronze]]).encode()).hexdigest()
        for night in nights
    }

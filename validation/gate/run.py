"""The gate: bronze to silver, quarantine and duplicates, one transaction per night (rules T2, T3, T5; law 7).

Only the parser and the Great Expectations suite reject rows. Everything is checked before anything is written, so a bad
batch leaves the last good one in place. Comes after bronze; features read what it writes.
"""

import hashlib
import json
from datetime import date

from infra.clock import refuse_open_night
from infra.lake.commit import Commit
from infra.telemetry import Log
from infra.workspace import Workspace
from validation.gate.accounts import Nightly, fed_facts, totals
from validation.gate.batches import OUTPUTS, batch
from validation.gate.judging import JudgedBatch, judge

LOG = Log(__name__)


def gate(ws: Workspace, night: date, run: str = "") -> dict[str, object]:
    """Judge the nights of bronze that were not judged yet, up to a night; or that one night again.

    Parameters
    ----------
    ws
        The company's workspace.
    night
        The night to judge up to.
    run
        The run that asks, for the lineage.

    Returns
    -------
    dict
        ``night``, ``skipped`` and per fact the account of the nights that were judged.

    Raises
    ------
    Rejected
        The night is not over or was not ingested, or a source's share of rejected rows is beyond its limit. Nothing of
        the night is written then.
    """
    refuse_open_night(night, ws.clock)
    batches = [made for fact in fed_facts(ws) if (made := batch(ws, fact, night))]
    judged = judge(ws, batches) if batches else []
    for found in judged:
        write_silver(ws, found, run)
    accounts = {found.batch.contract.fact: totals_of(found.account) for found in judged}
    for fact, account in accounts.items():
        rejected = account["quarantined"]
        kept = {"rows": account["silver"], "rejected": rejected, "duplicates": account["duplicates"]}
        (LOG.warning if rejected else LOG.info)("judged", night=night, fact=fact, **kept)
    return {"night": str(night), "skipped": not batches, "facts": accounts}


def totals_of(account: Nightly) -> dict[str, int]:
    """Return the sums of an account over its nights and files."""
    rows = ((s, f, a) for sources in account.values() for s, files in sources.items() for f, a in files.items())
    return totals(rows)


def write_silver(ws: Workspace, found: JudgedBatch, run: str) -> None:
    """Commit the three tables of a fact; silver is last, for its commit is the one that closes the nights."""
    made, fact = found.batch, found.batch.contract.fact
    digest = hashlib.sha256(json.dumps(sorted(made.inputs.values())).encode()).hexdigest()
    notes = {"inputs": {str(night): text for night, text in made.inputs.items()}, "nights": found.account}
    rows = (found.quarantine, found.duplicates, found.silver)
    for room, held, kept in zip(OUTPUTS, rows, ({}, {}, notes), strict=True):
        ws.lake.replace(f"{room}/{fact}", held, Commit(made.nights, digest, run, kept), partition="known_day")

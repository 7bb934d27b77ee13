"""The gate: bronze to silver, quarantine and duplicates, one transaction per night (rules T2, T3, T5; law 7).

Only the parser and the Great Expectations suite reject rows. Everything is checked before anything is written, so a bad
batch leaves the last good one in place. Comes after ``ingest.py``; features read what it writes.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from infra.clock import DAY, Nights, refuse_open_night
from infra.company import Source
from infra.errors import Rejected
from infra.lake import Commit
from infra.workspace import Workspace
from validation.accounts import Nightly, facts, tally, totals
from validation.arrivals import first_night
from validation.contracts import CONTRACTS, Contract
from validation.facts import parse_fact, raw_text
from validation.revisions import columns, mark_duplicates

HANDFUL = 10
ROOMS = ("quarantine", "duplicates", "silver")
CODE = ("contracts.py", "facts.py", "gate.py", "parse.py", "revisions.py", "suites.py")


@dataclass(frozen=True)
class Batch:
    """The nights of one fact that the gate is to judge, with the sources that feed it."""

    contract: Contract
    sources: tuple[Source, ...]
    nights: Nights
    inputs: Mapping[date, str]


@dataclass(frozen=True)
class Judged:
    """A batch after the gate: the three tables that share its rows, and the account of them."""

    batch: Batch
    silver: pa.Table
    quarantine: pa.Table
    duplicates: pa.Table
    account: Nightly


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
    batches = [made for fact in facts(ws) if (made := batch(ws, fact, night))]
    judged = judge(ws, batches) if batches else []
    for found in judged:
        write(ws, found, run)
    accounts = {found.batch.contract.fact: totals_of(found.account) for found in judged}
    return {"night": str(night), "skipped": not batches, "facts": accounts}


def totals_of(account: Nightly) -> dict[str, int]:
    """Return the sums of an account over its nights and files."""
    rows = ((s, f, a) for sources in account.values() for s, files in sources.items() for f, a in files.items())
    return totals(rows)


def batch(ws: Workspace, fact: str, night: date) -> Batch | None:
    """Return what is to be judged of a fact; None if its last run judged the very same (the no-op check).

    Raises
    ------
    Rejected
        The night was not ingested.
    """
    sources = tuple(source for source in ws.company.sources if source.fact == fact)
    if fact not in CONTRACTS:
        raise Rejected(f"source {sources[0].name}, fact", f"one of {', '.join(CONTRACTS)}", fact)
    newest = ws.lake.newest(f"silver/{fact}")
    rerun = newest is not None and night <= newest
    nights = Nights(night if rerun else newest + DAY if newest else first_night(ws), night)
    made = Batch(CONTRACTS[fact], sources, nights, inputs(ws, CONTRACTS[fact], sources, nights))
    if not (rerun and ws.settings.skip_unchanged):
        return made
    owners = [owner for room in ROOMS if (owner := ws.lake.owner(f"{room}/{fact}", night))]
    judged = (owners[-1].notes or {}).get("inputs", {}).get(str(night)) if len(owners) == len(ROOMS) else None
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
    code = "".join((Path(__file__).parent / name).read_text(encoding="utf-8") for name in CODE)
    rules = [contract, *(source.model_dump_json() for source in sources), code]
    bronze = [ws.lake.digests(f"bronze/{source.name}", nights, partition="known_day") for source in sources]
    return {
        night: hashlib.sha256(repr([rules, [found.get(night, "") for found in bronze]]).encode()).hexdigest()
        for night in nights
    }


def judge(ws: Workspace, batches: Sequence[Batch]) -> list[Judged]:
    """Parse and validate batches and sort their rows into silver, quarantine and duplicates; writes nothing.

    Raises
    ------
    Rejected
        A source's share of rejected rows in a night is beyond its limit.
    """
    from validation.suites import validate  # heavy: only a night that has something to judge needs it

    with_parsed = [(made, opened(ws, made)) for made in batches]
    frames = {made.contract.fact: frame(connection, made.contract) for made, connection in with_parsed}
    broken = validate(frames, ws.folder("docs") / "gx")
    judged = [sort_rows(ws, made, connection, broken[made.contract.fact]) for made, connection in with_parsed]
    for _, connection in with_parsed:
        connection.close()
    for found in judged:
        refuse_bad(found)
    return judged


def opened(ws: Workspace, made: Batch) -> duckdb.DuckDBPyConnection:
    """Return a connection with the parsed rows of a batch."""
    connection = ws.lake.connect()
    parse_fact(connection, ws.lake, made.contract, made.sources, made.nights)
    return connection


def frame(connection: duckdb.DuckDBPyConnection, contract: Contract) -> pd.DataFrame:
    """Return the parsed rows as Great Expectations reads them, one column per column that a rule names."""
    named = {c.name for c in contract.all_columns if c.required or c.allowed or c.pattern or c.least is not None}
    named |= {c.name for c in contract.all_columns if c.most is not None}
    named |= {name for rule in contract.all_rules for name in rule.columns}
    rows = connection.sql(f"SELECT _row, {', '.join(sorted(named))} FROM parsed ORDER BY _row").to_arrow_table()
    found: pd.DataFrame = rows.to_pandas()
    return found.set_index("_row").rename_axis(None)


def sort_rows(
    ws: Workspace, made: Batch, connection: duckdb.DuckDBPyConnection, broken: Mapping[str, Sequence[int]]
) -> Judged:
    """Return the rows of a batch as silver, quarantine and duplicates, with their account."""
    pairs = [(row, reason) for reason, rows in broken.items() for row in rows]
    found = {
        "_row": pa.array([row for row, _ in pairs], pa.int64()),
        "reason": pa.array([r for _, r in pairs], pa.string()),
    }
    connection.register("broken", pa.table(found))
    connection.execute(REASONS)
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW accepted AS FROM parsed WHERE _row NOT IN (SELECT _row FROM rejected)"
    )
    repeats, revising = mark_duplicates(connection, ws.lake, made.contract, "accepted", made.nights)
    raw_text(connection, made.sources, "rejected")
    silver = f"""SELECT {", ".join(columns(made.contract))}, _row IN (FROM {revising}) AS revises, known_day
        FROM accepted WHERE _row NOT IN (SELECT _row FROM {repeats})
        ORDER BY known_day, event_id, ingested_at, file, position"""
    return Judged(
        made,
        connection.sql(silver).to_arrow_table(),
        connection.sql(QUARANTINE).to_arrow_table(),
        connection.sql(DUPLICATES).to_arrow_table(),
        tally(connection),
    )


# What could not be read is not also missing; a row that is broken as a whole misses nothing else.
REASONS = """CREATE OR REPLACE TEMP TABLE rejected AS
    WITH unread AS (SELECT _row, unnest(_unparsable) AS name FROM parsed)
    SELECT _row, string_agg(reason, ';' ORDER BY reason) AS reason FROM (
        SELECT _row, 'unparsable:' || name AS reason FROM unread
        UNION SELECT _row, reason FROM broken b
        WHERE NOT EXISTS (FROM unread u
            WHERE u._row = b._row AND (starts_with(u.name, 'row') OR b.reason = 'missing:' || u.name)))
    GROUP BY _row"""
QUARANTINE = """SELECT source, file, position, ingested_at, reason, raw, known_day
    FROM rejected JOIN parsed USING (_row) JOIN raw_json USING (_row) ORDER BY known_day, file, position"""
DUPLICATES = """SELECT source, file, position, event_id, known_day
    FROM parsed WHERE _row IN (SELECT _row FROM repeats) ORDER BY known_day, file, position"""


def refuse_bad(found: Judged) -> None:
    """Refuse a batch of which a source's rejected share in any night is beyond its limit.

    A handful of rejected rows refuses nothing unless it is all there is: a share of few rows says little.

    Raises
    ------
    Rejected
        Too many rows of a source were rejected in a night.
    """
    limits = {source.name: source.max_rejected for source in found.batch.sources}
    for night, sources in found.account.items():
        for source, files in sources.items():
            rows = sum(account["read"] for account in files.values())
            bad = sum(sum(account["reasons"].values()) for account in files.values())
            if bad > limits[source] * rows and (bad >= HANDFUL or bad == rows > 2):
                reasons = sorted({reason for account in files.values() for reason in account["reasons"]})
                raise Rejected(
                    f"source {source}, night {night}",
                    f"at most {limits[source]:.0%} rejected rows",
                    f"{bad} of {rows} ({', '.join(reasons[:3])})",
                    "Nothing of the night was written; mend the file or raise max_rejected.",
                )


def write(ws: Workspace, found: Judged, run: str) -> None:
    """Commit the three tables of a fact; silver is last, for its commit is the one that closes the nights."""
    made, fact = found.batch, found.batch.contract.fact
    digest = hashlib.sha256(json.dumps(sorted(made.inputs.values())).encode()).hexdigest()
    notes = {"inputs": {str(night): text for night, text in made.inputs.items()}, "nights": found.account}
    rows = (found.quarantine, found.duplicates, found.silver)
    for room, held, kept in zip(ROOMS, rows, ({}, {}, notes), strict=True):
        ws.lake.replace(f"{room}/{fact}", held, Commit(made.nights, digest, run, kept), partition="known_day")

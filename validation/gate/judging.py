"""Rows of a batch parsed, validated and sorted into silver, quarantine and duplicates; nothing is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pandas as pd
import pyarrow as pa

from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from validation.contracts.language import Contract
from validation.contracts.own import contracts_of
from validation.contracts.silver import silver_columns
from validation.gate.accounts import Nightly, tally
from validation.gate.batches import Batch
from validation.gate.facts import parse_fact, raw_text
from validation.gate.revisions import mark_duplicates

FEW_ROWS = 10


@dataclass(frozen=True)
class JudgedBatch:
    """A batch after the gate: the three tables that share its rows, and the account of them."""

    batch: Batch
    silver: pa.Table
    quarantine: pa.Table
    duplicates: pa.Table
    account: Nightly


def judge(ws: Workspace, batches: Sequence[Batch]) -> list[JudgedBatch]:
    """Parse and validate batches and sort their rows into silver, quarantine and duplicates; writes nothing.

    Raises
    ------
    Rejected
        A source's share of rejected rows in a night is beyond its limit.
    """
    from validation.gate.suites import validate  # heavy: only a night that has something to judge needs it

    with_parsed = [(made, parsed_rows(ws, made)) for made in batches]
    frames = {made.contract.fact: rule_frame(connection, made.contract) for made, connection in with_parsed}
    broken = validate(contracts_of(ws.company), frames, ws.folder("docs") / "gx")
    judged = [sort_rows(ws, made, connection, broken[made.contract.fact]) for made, connection in with_parsed]
    for _, connection in with_parsed:
        connection.close()
    for found in judged:
        refuse_bad_share(found)
    return judged


def parsed_rows(ws: Workspace, made: Batch) -> duckdb.DuckDBPyConnection:
    """Return a connection with the parsed rows of a batch."""
    connection = ws.lake.connect()
    parse_fact(connection, ws.lake, made.contract, made.sources, made.nights)
    return connection


def rule_frame(connection: duckdb.DuckDBPyConnection, contract: Contract) -> pd.DataFrame:
    """Return the parsed rows as Great Expectations reads them, one column per column that a rule names."""
    named = {c.name for c in contract.all_columns if c.required or c.allowed or c.pattern or c.least is not None}
    named |= {c.name for c in contract.all_columns if c.most is not None}
    named |= {name for rule in contract.all_rules for name in rule.columns}
    rows = connection.sql(f"SELECT _row, {', '.join(sorted(named))} FROM parsed ORDER BY _row").to_arrow_table()
    found: pd.DataFrame = rows.to_pandas()
    return found.set_index("_row").rename_axis(None)


def sort_rows(
    ws: Workspace, made: Batch, connection: duckdb.DuckDBPyConnection, broken: Mapping[str, Sequence[int]]
) -> JudgedBatch:
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
    silver = f"""SELECT {", ".join(silver_columns(made.contract))}, _row IN (FROM {revising}) AS revises, known_day
        FROM accepted WHERE _row NOT IN (SELECT _row FROM {repeats})
        ORDER BY known_day, event_id, ingested_at, file, position"""
    return JudgedBatch(
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


def refuse_bad_share(found: JudgedBatch) -> None:
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
            if bad > limits[source] * rows and (bad >= FEW_ROWS or bad == rows > 2):
                reasons = sorted({reason for account in files.values() for reason in account["reasons"]})
                raise Rejected(
                    f"source {source}, night {night}",
                    f"at most {limits[source]:.0%} rejected rows",
                    f"{bad} of {rows} ({', '.join(reasons[:3])})",
                    "Nothing of the night was written; mend the file or raise max_rejected.",
                )

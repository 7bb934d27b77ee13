"""Same or corrected (rule T3): which accepted rows are new to silver and which repeat what it knows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import duckdb

from infra.clock import Nights
from rapport_feast.sql import quoted
from rapport_feast.times import DAY
from validation.contracts.language import Contract
from validation.contracts.parse import DUCKDB
from validation.contracts.silver import content_digest

if TYPE_CHECKING:
    from infra.lake.lake import Lake


def mark_duplicates(
    connection: duckdb.DuckDBPyConnection, lake: "Lake", contract: Contract, accepted: str, nights: Nights
) -> tuple[str, str]:
    """Make the tables of row numbers that repeat a row of earlier nights or an earlier row of these, or revise one.

    Parameters
    ----------
    connection
        Where the table ``accepted`` lies: silver's columns and ``_row``.
    lake, contract, nights
        Where earlier nights of the fact are read, by the event ids at hand only.

    Returns
    -------
    tuple of str
        Names of the tables of repeats and of revisions, each with the one column ``_row``.
    """
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE keyed AS
            SELECT _row, event_id, coalesce(revision, -1) AS number, {content_digest(contract, "a")} AS said,
                row_number() OVER (PARTITION BY event_id, number, said ORDER BY ingested_at, file, position) AS nth,
                row_number() OVER (PARTITION BY event_id ORDER BY ingested_at, file, position) AS version
            FROM {accepted} a"""
    )
    known = earlier(connection, lake, contract, nights)
    seen = "OR (event_id, number, said) IN (SELECT (event_id, number, said) FROM known)" if known else ""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE repeats AS SELECT _row FROM keyed WHERE nth > 1 {seen}")
    # Most events are said once: whoever reads silver need not look for revisions of the others.
    older = "OR event_id IN (SELECT event_id FROM known)" if known else ""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE revising AS SELECT _row FROM keyed WHERE version > 1 {older}")
    return "repeats", "revising"


def earlier(connection: duckdb.DuckDBPyConnection, lake: "Lake", contract: Contract, nights: Nights) -> Sequence[str]:
    """Make the table ``known`` of what earlier nights of silver say under the event ids at hand, if there are any."""
    table = f"silver/{contract.fact}"
    commits = lake.commits(table)
    if not commits or (first := min(commit.nights.first for commit in commits)) >= nights.first:
        return ()
    lake.view(connection, table, Nights(first, nights.first - DAY), name="before", partition="known_day")
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE known AS
            SELECT event_id, coalesce(revision, -1) AS number, {content_digest(contract, "b")} AS said
            FROM {_in_full(connection, "before", contract)} b WHERE event_id IN (SELECT event_id FROM keyed)"""
    )
    return ("known",)


def _in_full(connection: duckdb.DuckDBPyConnection, view: str, contract: Contract) -> str:
    """Return SQL of silver rows with every column of a contract: the table lacks one that was declared today."""
    there = {row[0] for row in connection.execute(f"DESCRIBE {view}").fetchall()}
    absent = [column for column in contract.columns if column.name not in there]
    return f"(SELECT *{''.join(f', NULL::{DUCKDB[c.type]} AS {quoted(c.name)}' for c in absent)} FROM {view})"

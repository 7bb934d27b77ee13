"""Same or corrected (rule T3): which accepted rows are new to silver and which repeat what it knows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import duckdb

from infra.clock import DAY, Nights
from validation.contracts import Contract
from validation.sources.base import quoted

if TYPE_CHECKING:
    from infra.lake import Lake  # Delta Lake comes with it, and the door of the service reads no table

FIRST = (
    "event_id",
    "source",
    "id_space",
    "source_id",
    "event_time",
    "ingested_at",
    "revision",
    "retracted",
    "file",
    "position",
)


def columns(contract: Contract) -> tuple[str, ...]:
    """Return the columns of silver in their order, without ``revises`` and the partition's.

    Examples
    --------
    >>> from validation.contracts import OUTCOMES
    >>> columns(OUTCOMES)[-3:]
    ('decision_id', 'kind', 'value')
    """
    return (*FIRST, *(column.name for column in contract.columns))


def payload(contract: Contract, alias: str) -> str:
    """Return SQL of the digest of what a row says, whenever and wherever it came."""
    said = (*FIRST[2:5], "retracted", *(column.name for column in contract.columns))
    parts = ", ".join(f"coalesce({alias}.{quoted(name)}::VARCHAR, chr(30))" for name in said)
    return f"md5(concat_ws(chr(31), {parts}))"


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
            SELECT _row, event_id, coalesce(revision, -1) AS number, {payload(contract, "a")} AS said,
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
            SELECT event_id, coalesce(revision, -1) AS number, {payload(contract, "b")} AS said
            FROM before b WHERE event_id IN (SELECT event_id FROM keyed)"""
    )
    return ("known",)

"""Bronze read as facts: raw text becomes the typed columns of a contract, with what could not be read noted per row.

The first half of the gate; Great Expectations sees the rows next.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import duckdb

from infra.clock import Nights
from infra.company import Source
from infra.errors import Rejected
from validation.contracts import Column, Contract
from validation.parse import DUCKDB, masked, typed
from validation.sources import adapter
from validation.sources.base import BROKEN, FAULT, literal, quoted

if TYPE_CHECKING:
    from infra.lake import Lake  # Delta Lake comes with it, and the door of the service reads no table

OURS = ("_row", "_file", "_position", "_ingested_at", "known_day")


def parse_fact(
    connection: duckdb.DuckDBPyConnection, lake: "Lake", contract: Contract, sources: Sequence[Source], nights: Nights
) -> None:
    """Make the table ``parsed`` of one fact: typed rows, and under ``_unparsable`` the columns that could not be read.

    Raises
    ------
    Rejected
        A source maps a column that the fact does not have.
    """
    parts = []
    for number, source in enumerate(sources):
        newest = lake.newest(f"bronze/{source.name}")
        if newest is None or newest < nights.last:
            raise Rejected(
                "night", f"a night that was ingested from {source.name}", str(nights.last), "Run ingest first."
            )
        table = load(connection, lake, source, nights, number)
        names = [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]
        parts.append(typed_rows(contract, source, table, names))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE parsed AS {' UNION ALL BY NAME '.join(parts)} ORDER BY _row")


def load(connection: duckdb.DuckDBPyConnection, lake: "Lake", source: Source, nights: Nights, number: int) -> str:
    """Make a table of the bronze rows of some nights, numbered; returns its name."""
    view = lake.view(connection, f"bronze/{source.name}", nights, name=f"bronze_{source.name}", partition="known_day")
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE raw_{number} AS
            SELECT *, {number} * 1000000000000 + row_number() OVER (ORDER BY _ingested_at, _file, _position) AS _row
            FROM {view}"""
    )
    return f"raw_{number}"


def typed_rows(contract: Contract, source: Source, table: str, names: Sequence[str]) -> str:
    """Return SQL of the typed rows of one source.

    Raises
    ------
    Rejected
        The source maps a column that the fact does not have.
    """
    told = dict(adapter(source).columns(source))
    wanted = {column.name: column for column in contract.all_columns}
    if unknown := sorted(set(told) - set(wanted)):
        raise Rejected(f"source {source.name}, columns", f"columns of {contract.fact}: {', '.join(wanted)}", unknown[0])
    told["event_id"] = f"{literal((source.ids or source.name) + ':')} || nullif({told['event_id']}, '')"
    absent = {quoted(raw) for raw in source.columns.values() if raw not in names}
    texts = {name: "NULL" if told.get(name, "NULL") in absent else told.get(name, "NULL") for name in wanted}
    inner = ", ".join(f"nullif(({sql})::VARCHAR, '') AS {quoted(name)}" for name, sql in texts.items())
    read = {name: typed(column.type, f"t.{quoted(name)}", source.shift_weeks) for name, column in wanted.items()}
    bad = ", ".join(
        f"CASE WHEN t.{quoted(name)} IS NOT NULL AND ({sql}) IS NULL THEN {literal(name)} END"
        for name, sql in read.items()
        if wanted[name].type != "text"
    )
    fault = f"'row' || coalesce(':' || t.{FAULT}, '')" if FAULT in names else "'row'"
    broken = f"CASE WHEN t.{BROKEN} IS NOT NULL THEN {fault} END" if BROKEN in names else "NULL"
    outer = ", ".join(f"{finished(wanted[name], sql)} AS {quoted(name)}" for name, sql in read.items())
    kept = ", ".join((*OURS, *(name for name in (BROKEN, FAULT) if name in names)))
    return f"""SELECT _row, _file AS file, _position AS position, _ingested_at AS ingested_at, known_day,
            {literal(source.name)} AS source, {literal(source.id_space)} AS id_space, {outer},
            list_filter([{broken}, {bad}]::VARCHAR[], lambda x: x IS NOT NULL) AS _unparsable
        FROM (SELECT {kept}, {inner} FROM {table}) t"""


def finished(column: Column, sql: str) -> str:
    """Return SQL of a column's final value: personal data is masked, ``retracted`` is never null."""
    sql = masked(sql) if column.masked else sql
    sql = f"coalesce({sql}, false)" if column.name == "retracted" else sql
    return f"({sql})::{DUCKDB[column.type]}"


def raw_text(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source], rejected: str) -> str:
    """Make the table ``raw_json`` of the text of rejected rows as JSON; returns its name."""
    parts = []
    for number in range(len(sources)):
        names = [row[0] for row in connection.execute(f"DESCRIBE raw_{number}").fetchall() if row[0] not in OURS]
        fields = ", ".join(f"{quoted(name)} := {quoted(name)}" for name in names)
        parts.append(
            f"""SELECT _row, to_json(struct_pack({fields}))::VARCHAR AS raw FROM raw_{number}
                WHERE _row IN (SELECT _row FROM {rejected})"""
        )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE raw_json AS {' UNION ALL '.join(parts)}")
    return "raw_json"

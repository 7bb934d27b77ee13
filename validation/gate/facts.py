"""Bronze read as facts: the first half of the gate; Great Expectations sees the rows next."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import duckdb

from infra.clock import Nights
from infra.company.source import Source
from rapport_feast.errors import Rejected
from rapport_feast.sql import quoted
from validation.contracts.language import Contract
from validation.sources.typed_rows import BRONZE_COLUMNS, typed_rows

if TYPE_CHECKING:
    from infra.lake.lake import Lake


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


def raw_text(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source], rejected: str) -> str:
    """Make the table ``raw_json`` of the text of rejected rows as JSON; returns its name."""
    parts = []
    for number in range(len(sources)):
        names = [
            row[0] for row in connection.execute(f"DESCRIBE raw_{number}").fetchall() if row[0] not in BRONZE_COLUMNS
        ]
        fields = ", ".join(f"{quoted(name)} := {quoted(name)}" for name in names)
        parts.append(
            f"""SELECT _row, to_json(struct_pack({fields}))::VARCHAR AS raw FROM raw_{number}
                WHERE _row IN (SELECT _row FROM {rejected})"""
        )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE raw_json AS {' UNION ALL '.join(parts)}")
    return "raw_json"

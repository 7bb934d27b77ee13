"""Raw rows of a source as typed rows of its fact, in SQL; what could not be read is noted per row."""

from collections.abc import Sequence

from infra.company.source import Source
from rapport_feast.errors import Rejected
from rapport_feast.sql import literal, quoted
from validation.contracts.language import Column, Contract
from validation.contracts.masks import masked_sql
from validation.contracts.parse import DUCKDB, parsed_sql
from validation.sources.catalogue import adapter
from validation.sources.protocol import BROKEN, FAULT

BRONZE_COLUMNS = ("_row", "_file", "_position", "_ingested_at", "known_day")


def typed_rows(contract: Contract, source: Source, table: str, names: Sequence[str]) -> str:
    """Return SQL of the typed rows of one source.

    Raises
    ------
    Rejected
        The source maps a column that the fact does not have.
    """
    mapped = dict(adapter(source).columns(source))
    wanted = {column.name: column for column in contract.all_columns}
    if unknown := sorted(set(mapped) - set(wanted)):
        raise Rejected(f"source {source.name}, columns", f"columns of {contract.fact}: {', '.join(wanted)}", unknown[0])
    mapped["event_id"] = f"{literal((source.ids or source.name) + ':')} || nullif({mapped['event_id']}, '')"
    absent = {quoted(raw) for raw in source.columns.values() if raw not in names}
    texts = {name: "NULL" if mapped.get(name, "NULL") in absent else mapped.get(name, "NULL") for name in wanted}
    inner = ", ".join(f"nullif(({sql})::VARCHAR, '') AS {quoted(name)}" for name, sql in texts.items())
    read = {name: parsed_sql(column.type, f"t.{quoted(name)}", source.shift_weeks) for name, column in wanted.items()}
    bad = ", ".join(
        f"CASE WHEN t.{quoted(name)} IS NOT NULL AND ({sql}) IS NULL THEN {literal(name)} END"
        for name, sql in read.items()
        if wanted[name].type != "text"
    )
    fault = f"'row' || coalesce(':' || t.{FAULT}, '')" if FAULT in names else "'row'"
    broken = f"CASE WHEN t.{BROKEN} IS NOT NULL THEN {fault} END" if BROKEN in names else "NULL"
    outer = ", ".join(f"{finished(wanted[name], sql)} AS {quoted(name)}" for name, sql in read.items())
    kept = ", ".join((*BRONZE_COLUMNS, *(name for name in (BROKEN, FAULT) if name in names)))
    return f"""SELECT _row, _file AS file, _position AS position, _ingested_at AS ingested_at, known_day,
            {literal(source.name)} AS source, {literal(source.id_space)} AS id_space, {outer},
            list_filter([{broken}, {bad}]::VARCHAR[], lambda x: x IS NOT NULL) AS _unparsable
        FROM (SELECT {kept}, {inner} FROM {table}) t"""


def finished(column: Column, sql: str) -> str:
    """Return SQL of a column's final value: personal data is masked, ``retracted`` is never null."""
    sql = masked_sql(sql) if column.masked else sql
    sql = f"coalesce({sql}, false)" if column.name == "retracted" else sql
    return f"({sql})::{DUCKDB[column.type]}"

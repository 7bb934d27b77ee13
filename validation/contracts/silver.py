"""The columns of silver: those of every fact, and a contract's own."""

from rapport_feast.sql import quoted
from validation.contracts.language import Contract

FACT_COLUMNS = (
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


def silver_columns(contract: Contract) -> tuple[str, ...]:
    """Return the columns of silver in their order, without ``revises`` and the partition's.

    Examples
    --------
    >>> from validation.contracts.decisions import OUTCOMES
    >>> silver_columns(OUTCOMES)[-3:]
    ('decision_id', 'kind', 'value')
    """
    return (*FACT_COLUMNS, *(column.name for column in contract.columns))


def content_digest(contract: Contract, alias: str) -> str:
    """Return SQL of the digest of what a row says, whenever and wherever it came."""
    said = (*FACT_COLUMNS[2:5], "retracted", *(column.name for column in contract.columns))
    parts = ", ".join(f"coalesce({alias}.{quoted(name)}::VARCHAR, chr(30))" for name in said)
    return f"md5(concat_ws(chr(31), {parts}))"

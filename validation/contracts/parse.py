"""From text to types, in SQL: null where the text is missing or cannot be read; here every time is parsed."""

from validation.contracts.language import Type

TIME = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s?(Z|[+-]\d{2}(:?\d{2})?)?)?"
WHOLE = r"[+-]?\d+(\.0+)?"
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
TRUE, FALSE = ("true", "t", "1", "yes"), ("false", "f", "0", "no")
DUCKDB = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "decimal": "DOUBLE",
    "boolean": "BOOLEAN",
    "time": "TIMESTAMPTZ",
}


def parsed_sql(kind: Type, text: str, weeks: int = 0) -> str:
    """Return SQL that reads a text as a type of the contracts.

    Parameters
    ----------
    kind
        The type.
    text
        SQL that gives the text.
    weeks
        Whole weeks by which times are shifted. A time without a zone is UTC.
    """
    if kind == "text":
        return text
    if kind == "integer":
        return (
            f"CASE WHEN {full_match_sql(text, WHOLE)} THEN TRY_CAST(regexp_replace({text}, '\\.0+$', '') AS BIGINT) END"
        )
    if kind == "decimal":
        number = f"TRY_CAST({text} AS DOUBLE)"
        return f"CASE WHEN {full_match_sql(text, NUMBER)} AND isfinite({number}) THEN {number} END"
    if kind == "boolean":
        return f"CASE WHEN lower({text}) IN {TRUE} THEN true WHEN lower({text}) IN {FALSE} THEN false END"
    shift = f" + INTERVAL '{weeks * 7} days'" if weeks else ""
    return f"CASE WHEN {full_match_sql(text, TIME)} THEN TRY_CAST({text} AS TIMESTAMPTZ){shift} END"


def full_match_sql(text: str, pattern: str) -> str:
    """Return SQL that says whether a text matches a pattern from its start to its end."""
    return f"regexp_full_match({text}, '{pattern}')"

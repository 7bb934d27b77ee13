"""From text to types, in SQL: shared by ingest, which reads availabilities, and the gate, which reads whole facts.

An expression is null where the text is missing or cannot be read; the gate tells the two apart.
"""

from validation.contracts import Type

STAMP = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s?(Z|[+-]\d{2}(:?\d{2})?)?)?"
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
# Nothing before an address, number or card may belong to it, so that ids and dates are left alone.
MASKS = (
    ("email", r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+"),
    ("card", r"\b\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{1,7}\b|\b3[47]\d{2}[ -]?\d{6}[ -]?\d{5}\b"),
    (
        "phone",
        r"\+\d[\d ().-]{6,17}\d|\(\d{3}\) ?\d{3}[ .-]\d{4}\b|\b\d{3}[ .-]\d{3}[ .-]\d{4}\b"
        r"|\b0\d{1,4}[ .-]?\d{3,4}[ .-]?\d{3,4}\b|\b0\d([ .-]?\d{2}){4}\b",
    ),
)


def typed(kind: Type, text: str, weeks: int = 0) -> str:
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
        return f"CASE WHEN {full(text, WHOLE)} THEN TRY_CAST(regexp_replace({text}, '\\.0+$', '') AS BIGINT) END"
    if kind == "decimal":
        number = f"TRY_CAST({text} AS DOUBLE)"
        return f"CASE WHEN {full(text, NUMBER)} AND isfinite({number}) THEN {number} END"
    if kind == "boolean":
        return f"CASE WHEN lower({text}) IN {TRUE} THEN true WHEN lower({text}) IN {FALSE} THEN false END"
    shift = f" + INTERVAL '{weeks * 7} days'" if weeks else ""
    return f"CASE WHEN {full(text, STAMP)} THEN TRY_CAST({text} AS TIMESTAMPTZ){shift} END"


def full(text: str, pattern: str) -> str:
    """Return SQL that says whether a text matches a pattern from its start to its end."""
    return f"regexp_full_match({text}, '{pattern}')"


def masked(text: str) -> str:
    """Return SQL that puts ``<email>``, ``<card>`` and ``<phone>`` in the place of what they name."""
    for name, pattern in MASKS:
        text = f"regexp_replace({text}, '{pattern}', '<{name}>', 'g')"
    return text

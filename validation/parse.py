"""From text to types, in SQL: shared by ingest, which reads availabilities, and the gate, which reads whole facts.

An expression is null where the text is missing or cannot be read; the gate tells the two apart.
"""

import re

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
LOCAL, DOMAIN = r"[A-Za-z0-9._%+-]+", r"@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+"
MASKS = (
    ("email", LOCAL + DOMAIN),
    ("card", r"\b\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{1,7}\b|\b3[47]\d{2}[ -]?\d{6}[ -]?\d{5}\b"),
    (
        "phone",
        r"\+\d[\d ().-]{6,17}\d|\(\d{3}\) ?\d{3}[ .-]\d{4}\b|\b\d{3}[ .-]\d{3}[ .-]\d{4}\b"
        r"|\b0\d{1,4}[ .-]?\d{3,4}[ .-]?\d{3,4}\b|\b0\d([ .-]?\d{2}){4}\b",
    ),
)
# For Python, whose search would begin again at every letter: what is no address is passed over as a whole.
EMAIL = re.compile(f"{LOCAL}({DOMAIN})?")
NUMBERS = tuple((f"<{name}>", re.compile(pattern, re.ASCII)) for name, pattern in MASKS[1:])


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


def mask(text: str) -> str:
    """Return a text with the same masks as ``masked``, for those who have no engine at hand: the online service.

    Examples
    --------
    >>> mask("Write to jo@example.org, or call +49 30 1234567.")
    'Write to <email>, or call <phone>.'
    """
    text = EMAIL.sub(lambda found: "<email>" if found[1] else found[0], text)
    for name, pattern in NUMBERS:
        text = pattern.sub(name, text)
    return text

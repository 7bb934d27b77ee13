"""Personal data in texts is masked: e-mail addresses, card and telephone numbers."""

import re

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


def masked_sql(text: str) -> str:
    """Return SQL that puts ``<email>``, ``<card>`` and ``<phone>`` in the place of what they name."""
    for name, pattern in MASKS:
        text = f"regexp_replace({text}, '{pattern}', '<{name}>', 'g')"
    return text


def mask(text: str) -> str:
    """Return a text with the same masks as ``masked_sql``, for those who have no engine at hand: the online service.

    Examples
    --------
    >>> mask("Write to jo@example.org, or call +49 30 1234567.")
    'Write to <email>, or call <phone>.'
    """
    text = EMAIL.sub(lambda found: "<email>" if found[1] else found[0], text)
    for name, pattern in NUMBERS:
        text = pattern.sub(name, text)
    return text

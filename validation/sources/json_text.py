"""JSON as text: an object's values as they were written, and in a word why a text is no object."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from validation.sources.protocol import BROKEN

MAX_DEPTH = 32


def records(lines: Sequence[str]) -> Iterator[dict[str, str | None]]:
    """Yield the objects of JSON lines with every value as text; a line that is none stands under ``_broken``."""
    for line in lines:
        row = record(line.encode())
        yield {BROKEN: line} if isinstance(row, str) else {name: as_text(value) for name, value in row.items()}


def record(line: bytes) -> dict[str, Any] | str:
    """Return the object that a JSON text is, numbers as their digits; else in a word why it is none.

    Examples
    --------
    >>> record(b'{"id": 1.50}'), record(b"[]"), record(b"{")
    ({'id': '1.50'}, 'not_object', 'not_json')
    """
    try:
        row = json.loads(line.decode("utf-8"), parse_int=str, parse_float=str, parse_constant=str)
        if b"\\ud" in line.lower():
            json.dumps(row, ensure_ascii=False).encode()  # half of a pair is no text
    except RecursionError:
        return "too_deep"
    except json.JSONDecodeError:
        return "not_json"
    except UnicodeError:
        return "not_text"
    if line.count(b"{") + line.count(b"[") > MAX_DEPTH and depth(row) > MAX_DEPTH:
        return "too_deep"
    return row if isinstance(row, dict) else "not_object"


def depth(value: Any) -> int:
    """Return how deep a JSON value is nested.

    Examples
    --------
    >>> depth({"a": [1, {}]}), depth(1)
    (3, 0)
    """
    level, layer = 0, [value]
    while layer := [one for one in layer if isinstance(one, dict | list)]:
        layer = [inner for one in layer for inner in (one.values() if isinstance(one, dict) else one)]
        level += 1
    return level


def as_text(value: Any) -> str | None:
    """Return a JSON value as text: ``true`` and ``false`` in words, nested values as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)

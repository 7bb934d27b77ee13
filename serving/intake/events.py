"""The events of a body, each as it stands there."""

import json
import re

from serving.errors import MalformedBody

MAX_EVENTS = 10_000
SPACE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()


def split_events(body: bytes) -> list[bytes]:
    """Return the events of a body, each as it stands there: one JSON value, an array, or JSON lines.

    Raises
    ------
    Rejected
        It holds none, or more than a request may.

    Examples
    --------
    >>> split_events(b'[{"a": 1.50}, {"a": 2}]')
    [b'{"a": 1.50}', b'{"a": 2}']
    """
    text = body.decode("utf-8", "surrogateescape")
    found = _elements(text) or [line for line in text.split("\n") if line.strip()]
    if not found or len(found) > MAX_EVENTS:
        raise MalformedBody("body", f"1 to {MAX_EVENTS:,} events", str(len(found)))
    return [one.strip().encode("utf-8", "surrogateescape") for one in found]


def _elements(text: str) -> list[str]:
    """Return the one value, or the elements of the array, that a text is as a whole; nothing if it is neither."""
    at, found = _skip(text, 0), []
    if array := text.startswith("[", at):
        at += 1
    try:
        while True:
            first = _skip(text, at)
            _, at = DECODER.raw_decode(text, first)
            found.append(text[first:at])
            at = _skip(text, at)
            if not array or not text.startswith(",", at):
                break
            at += 1
    except (ValueError, RecursionError):
        return []
    if array:
        at = _skip(text, at + 1) if text.startswith("]", at) else -1
    return found if at == len(text) else []


def _skip(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return found.end() if found else at

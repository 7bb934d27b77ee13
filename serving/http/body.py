"""Bodies: from bytes to JSON to a checked form."""

import json
from collections import Counter
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError

from rapport_feast.errors import Rejected
from serving.errors import BodyTooLarge, MalformedBody
from serving.forms.base import MAX_BODY_BYTES, Body

Form = TypeVar("Form", bound=Body)


def parse_body(body: bytes, form: type[Form]) -> Form:
    if len(body) > MAX_BODY_BYTES:
        raise BodyTooLarge
    try:
        content = json.loads(body, parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicate_keys)
    except RecursionError:
        raise MalformedBody("body", "a JSON object", "one nested too deeply") from None
    except ValueError as error:
        raise MalformedBody("body", "a JSON object", f"something else ({ascii(str(error)[:200])[1:-1]})") from None
    if not isinstance(content, dict):
        raise MalformedBody("body", "a JSON object", f"a JSON {type(content).__name__}")
    try:
        return form.model_validate(content)
    except ValidationError as error:
        raise first_error(error) from None


def first_error(error: ValidationError, *within: str) -> Rejected:
    """Return the first fault as field, expected, found."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(ascii(str(part)[:100])[1:-1] for part in (*within, *fault["loc"]) if part != "[key]")
    expected = fault["msg"].removeprefix("Input should be ").removeprefix("Input should have ")
    found = "none" if fault["type"] == "missing" else ascii(fault["input"])
    if fault["type"] == "extra_forbidden":
        expected = "no such key"
    return Rejected(
        where or "body", expected[:1].lower() + expected[1:], found if len(found) <= 80 else f"{found[:80]}..."
    )


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _refuse_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!r} stands twice")
    return content

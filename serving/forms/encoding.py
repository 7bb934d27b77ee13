"""How values and times are written in JSON: as protobuf writes them."""

import base64
import math
from datetime import datetime
from functools import lru_cache

from rapport_feast.value_form import Value
from serving.forms.base import JsonValue
from serving.timestamps import SECOND_US, moment


def json_value(value: Value) -> JsonValue:
    """Return a value as JSON has it: bytes in base64 and numbers that are none as words, as protobuf does."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


@lru_cache(maxsize=4096)
def json_time(moment: datetime) -> str:
    """Return a moment as protobuf's JSON has it: no fraction, milliseconds or microseconds, as needed.

    Examples
    --------
    >>> json_time(datetime(2026, 11, 20, 23, 59, 59, 500000))
    '2026-11-20T23:59:59.500Z'
    """
    text, micros = moment.isoformat(timespec="seconds")[:19], moment.microsecond
    if micros == 0:
        return f"{text}Z"
    return f"{text}.{micros // 1000:03d}Z" if micros % 1000 == 0 else f"{text}.{micros:06d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return json_time(moment(seconds * SECOND_US))[:-1]


def json_time_us(us: int) -> str:
    """Return microseconds since the epoch as ``json_time`` has them."""
    seconds, micros = divmod(us, SECOND_US)
    if micros == 0:
        return f"{_second(seconds)}Z"
    return f"{_second(seconds)}.{micros // 1000:03d}Z" if micros % 1000 == 0 else f"{_second(seconds)}.{micros:06d}Z"

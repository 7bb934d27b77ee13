"""Keys of order as text: the newest value of equal times is the one with the greatest key."""

from ibis.expr.types import IntegerValue, StringValue

# Makes every time since the year -29719 a number of 19 digits, so that times sort as text.
TIME_SHIFT = 10**18
LENGTH_DIGITS = 9
SEPARATOR = "\x01"


def order_key(event_us: IntegerValue, event_id: StringValue) -> StringValue:
    """Return a text that sorts as (event time, event id)."""
    return (event_us + TIME_SHIFT).cast("string") + event_id


def stamped(key: StringValue, value: StringValue) -> StringValue:
    """Return a value behind the key that it is chosen by; the greatest such text holds the newest value."""
    return key + SEPARATOR + value + value.length().cast("string").lpad(LENGTH_DIGITS, "0")


def unstamped(text: StringValue) -> StringValue:
    """Return the value of a stamped text."""
    length = text.right(LENGTH_DIGITS).cast("int64")
    return text.substr(text.length() - LENGTH_DIGITS - length, length)

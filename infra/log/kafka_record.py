"""A record of Kafka: its offset, its moment, and whether it is a seal."""

from typing import Any

from confluent_kafka import Consumer, Message

from rapport_feast.errors import Transient

MOMENT, TICK = "us", "tick"


def poll_records(consumer: Consumer, count: int, seconds: float) -> list[Message]:
    """Return what has come, at least one message if one comes in time."""
    first = consumer.poll(max(seconds, 0))
    if first is None:  # and not merely false: a message without a value is
        return []
    found = [first, *(consumer.consume(count - 1, timeout=0) if count > 1 else [])]
    for message in found:
        if (fault := message.error()) is not None:
            raise Transient(f"The event log on Kafka cannot be read ({fault.str()}).")
    return found


def offset_of(message: Message) -> int:
    """Return the offset of a record that has one."""
    return message.offset() or 0


def lead_of(message: Message) -> int:
    """Return by how much the moment of a record exceeds its offset."""
    return moment_of(message) - offset_of(message)


def headers_of(message: Message) -> dict[str, object]:
    """Return the headers of a record; of a name that stands twice, the last."""
    found: Any = message.headers() or ()
    return dict(found)


def is_tick(message: Message) -> bool:
    """Say whether a record is a seal."""
    return TICK in headers_of(message)


def moment_of(message: Message) -> int:
    """Return the moment that an appender stamped; of a record that somebody else wrote, Kafka's timestamp."""
    told = headers_of(message).get(MOMENT)
    _, ms = message.timestamp()
    us = int(told) if isinstance(told, bytes) and told.isdigit() and len(told) < 19 else 0
    return us if us // 1000 == ms else ms * 1000

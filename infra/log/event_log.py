"""The event log's one interface, and the limits that hold for every log (rule T1)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rapport_feast.errors import Rejected, Transient

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
MAX_ENTRIES = 5_000_000


"""Untrimmed entries beyond which nothing more is accepted: nobody drains the log, and it must not fill the machine."""


MAX_PAYLOAD_BYTES = 16_000_000
SETTING = "RAPPORT_LOG_URL"


@dataclass(frozen=True, slots=True)
class Entry:
    """An accepted event.

    Attributes
    ----------
    position
        Its place in the log; strictly increasing.
    accepted_us
        When it was accepted, in microseconds since 1970; strictly increasing, so that a moment parts the log.
    source
        Name of the source that it claims to be of.
    payload
        The bytes as they came; a JSON object, if all is well.
    """

    position: int
    accepted_us: int
    source: str
    payload: bytes = field(repr=False)


class EventLog(Protocol):
    """A log of entries. Whatever is silent beyond its deadline raises ``Transient``; nothing is tried twice."""

    def append(self, source: str, payloads: Sequence[bytes]) -> list[int]:
        """Append events of a source; returns their positions once they are durable.

        A ``Transient`` leaves open whether they are in the log: append them again, their event ids make them one.
        """
        ...

    def read(self, after: int, count: int = 1000, wait_seconds: float = 0.0) -> list[Entry]:
        """Return up to ``count`` entries behind a position (0: from the start), waiting for the first if there is none.

        May be fewer than there are; none only if there were none.
        """
        ...

    def end(self) -> tuple[int, int] | None:
        """Return position and moment of the newest entry; None if the log holds none."""
        ...

    def since(self, accepted_us: int) -> int:
        """Return the position after which exactly the entries accepted later than a moment stand."""
        ...

    def seal(self, through_us: int) -> None:
        """See to it that nothing is accepted at or before a moment any more, whatever the clocks of appenders say."""
        ...

    def trim(self, before_us: int) -> int:
        """Drop the entries accepted before a moment, none that a group has not committed; returns how many went."""
        ...

    def length(self) -> int:
        """Return how many entries the log holds."""
        ...

    def commit(self, group: str, position: int) -> None:
        """Note how far a group has applied the log; never falls."""
        ...

    def committed(self, group: str) -> int:
        """Return how far a group has applied the log; 0 if it never said."""
        ...

    def lag(self, group: str) -> int:
        """Return how many entries a group has not committed."""
        ...

    def forget(self, group: str) -> None:
        """Drop a group, which then holds no entry back any more."""
        ...

    def close(self) -> None:
        """Leave the log."""
        ...


def refuse_large_events(payloads: Sequence[bytes]) -> None:
    """Refuse events that no log takes.

    Raises
    ------
    Rejected
        One is larger.
    """
    if (largest := max(map(len, payloads))) > MAX_PAYLOAD_BYTES:
        raise Rejected("event", f"at most {MAX_PAYLOAD_BYTES:,} bytes", f"{largest:,}")


def log_full(entries: int) -> Transient:
    """Return the error of a log that holds all that it may."""
    return Transient(f"The event log holds {entries:,} entries and takes no more until a night is published.")

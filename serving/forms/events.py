"""The form of the answer to events."""

from typing import NotRequired

from typing_extensions import TypedDict


class RefusedEvent(TypedDict):
    """An event that was refused: its place in the request, from 0, and why."""

    row: int
    reason: str


class EventsResponse(TypedDict):
    """What became of the events of a request: their positions in the log, or that they wait on disk for it."""

    accepted: int
    positions: list[int]
    spooled: bool
    refused: list[RefusedEvent]
    error: NotRequired[dict[str, str]]

"""The turns of a conversation in progress, as the online service hands them to ``conversation.py``; nothing heavy."""

from collections.abc import Sequence
from typing import NamedTuple

FACT = "interactions"


class Turn(NamedTuple):
    """One turn of a conversation, as the gate would let it in; the time in microseconds."""

    event_id: str
    event_us: int
    channel: str
    author_role: str
    visibility: str
    text: str | None
    action: str | None


class Conversation(NamedTuple):
    """A conversation with its turns, and the moment at which its features are wanted, in microseconds."""

    thread_id: str
    turns: Sequence[Turn]
    t_us: int

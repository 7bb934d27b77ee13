"""The forms of turns and sessions."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field
from typing_extensions import TypedDict

from serving.forms.base import Body, JsonValue, Name

MAX_TURN_TEXT = 10_000

Text = Annotated[str, Field(max_length=MAX_TURN_TEXT)]


class TurnBody(Body):
    """A turn as the caller tells it."""

    turn_id: Name = Field(description="told again with the same content, the turn stands once")
    author_role: Literal["customer", "agent", "bot"] = Field(description="who says it")
    text: Text | None = Field(None, description="what is said; addresses and numbers are masked before it is kept")
    channel: Literal["chat", "email", "call", "social", "review", "web", "app", "shop"] = Field("chat")
    visibility: Literal["public", "private"] = Field("public", description="who may read it")
    action: Name | None = Field(None, description="what the agent or bot did in this turn")
    at: AwareDatetime | None = Field(None, description="when; by default now")


class TurnResponse(TypedDict):
    """What became of a turn: whether it is new, and how many the conversation has had."""

    fresh: bool
    turns: int


class StoredTurn(TypedDict):
    """A turn as it is kept."""

    turn_id: str
    at: str
    author_role: str
    text: str | None
    channel: str | None
    visibility: str
    action: str | None


class SessionResponse(TypedDict):
    """A conversation in progress: its turns by time, how many there ever were, and its features now."""

    conversation: str
    ever: int
    expires_in_seconds: float
    features: dict[str, JsonValue]
    turns: list[StoredTurn]

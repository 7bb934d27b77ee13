"""What was said: messages, call turns, mails, posts and reviews."""

from validation.contracts.language import Column, Contract
from validation.contracts.words import CHANNELS

INTERACTIONS = Contract(
    "interactions",
    "one message, call turn, mail, post or review",
    (
        Column("channel", "text", "channel", required=True, allowed=CHANNELS),
        Column("thread_id", "text", "conversation; the ticket's id where there is one", required=True),
        Column("author_role", "text", "who wrote it", required=True, allowed=("customer", "agent", "bot")),
        Column("visibility", "text", "who may read it", required=True, allowed=("public", "private")),
        Column("text", "text", "what was said", masked=True),
        Column("action", "text", "what the agent or bot did in this turn, where known"),
    ),
)

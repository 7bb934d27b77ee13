"""The life of tickets."""

from validation.contracts.language import Column, Contract
from validation.contracts.words import CHANNELS

TICKET_EVENTS = Contract(
    "ticket_events",
    "a step in the life of a ticket",
    (
        Column("ticket_id", "text", "ticket", required=True),
        Column(
            "kind",
            "text",
            "what happened",
            required=True,
            allowed=("opened", "assigned", "escalated", "reopened", "resolved", "closed", "updated"),
        ),
        Column("priority", "integer", "1 is the most urgent", least=1, most=5),
        Column("category", "text", "category as at the event"),
        Column("assignment_group", "text", "team that holds it"),
        Column("channel", "text", "how it came in", allowed=(*CHANNELS, "self_service", "direct", "ivr")),
        Column("sla_met", "boolean", "whether the service level was kept; known at the closing only", hindsight=True),
    ),
    anonymous=True,
)

"""What was said in the conversation of a ticket."""

from features.spec import TICKET, Group, Measure, Ratio, col
from features.words import NEGATIVE

SAID = col("author_role") == "customer"
LIFE = ("60d",)

GROUP = Group(
    name="ticket_messages",
    description="The conversation that belongs to a ticket.",
    owner="support",
    purpose="service",
    entity=TICKET,
    fact="interactions",
    where=col("thread_id").matches("^t"),
    measures=(
        Measure("messages", "count", ("24h", *LIFE), meaning="messages"),
        Measure("customer_messages", "count", LIFE, where=SAID, meaning="messages of the customer"),
        Measure(
            "negative_messages",
            "count",
            LIFE,
            where=SAID & col("text").matches(NEGATIVE),
            meaning="with negative words",
        ),
        Measure("longest_message", "max", LIFE, col("text").length(), SAID, "characters of the longest message"),
        Measure("since_message", "since", LIFE, meaning="seconds since the last message"),
        Measure("last_author", "last", LIFE, col("author_role"), meaning="who wrote last", text=True),
    ),
    derived=(
        Ratio(
            "ticket__negative_share__60d",
            "ticket__negative_messages__60d",
            "ticket__customer_messages__60d",
            "share of the customer's messages with negative words",
        ),
    ),
)

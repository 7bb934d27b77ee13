"""What is said in the conversation of a ticket, turn by turn, as it goes on."""

from features.declare import TICKET, Expect, Group, Measure, col, ratio
from features.declare.word_lists import NEGATIVE, frustration

SAID = col("author_role") == "customer"
TEXT, LIFE = col("text"), ("60d",)
POINTS = frustration(TEXT)

GROUP = Group(
    name="ticket_messages",
    description="The conversation that belongs to a ticket: how much is said, and in which tone.",
    owner="support",
    purpose="service",
    entity=TICKET,
    fact="interactions",
    where=col("thread_id").matches("^t"),
    served="live",
    hop="6h",
    measures=(
        Measure("messages", "count", ("1h", "24h", *LIFE), meaning="messages"),
        Measure("customer_messages", "count", LIFE, where=SAID, meaning="messages of the customer"),
        Measure("message_rate", "rate", ("7d",), meaning="messages a day"),
        Measure("negative_share", "share", LIFE, TEXT.matches(NEGATIVE), SAID, "the customer's with negative words"),
        Measure("frustration", "mean", LIFE, POINTS, SAID, "mean points for frustration of a turn"),
        Measure("frustration_slope", "slope", LIFE, POINTS, SAID, "points for frustration gained a day"),
        Measure("frustration_late", "decayed", LIFE, POINTS, SAID, "points for frustration, late", half_life="12h"),
        Measure("frustration_peak", "max", LIFE, POINTS, SAID, "most points for frustration of a turn"),
        Measure("first_frustration", "first", LIFE, POINTS, SAID, "points for frustration of the first turn"),
        Measure("last_frustration", "last", LIFE, POINTS, SAID, "points for frustration of the last turn"),
        Measure("message_words", "mean", LIFE, TEXT.words(), SAID, "mean words of a message"),
        Measure("actions", "distinct", LIFE, col("action"), ~SAID, "different things tried by agents and bots"),
        Measure("last_action", "last", LIFE, col("action"), ~SAID, "what agent or bot did last"),
        Measure("since_message", "since", LIFE, meaning="seconds since the last message"),
        Measure("last_author", "last", LIFE, col("author_role"), meaning="who wrote last"),
    ),
    derived=(
        ratio(
            "ticket__customer_share__60d",
            "ticket__customer_messages__60d",
            "ticket__messages__60d",
            "share of messages that the customer wrote",
            expect=Expect(0, 1),
        ),
    ),
    pii="personal",
)

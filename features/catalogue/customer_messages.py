"""What a customer says, and how."""

from features.spec import CUSTOMER, Group, Measure, Ratio, col
from features.words import NEGATIVE

SAID = col("author_role") == "customer"
SPANS = ("7d", "30d")

GROUP = Group(
    name="customer_messages",
    description="Messages in conversations with a customer, on all channels.",
    owner="support",
    purpose="service",
    entity=CUSTOMER,
    fact="interactions",
    measures=(
        Measure("messages", "count", ("24h", *SPANS), where=SAID, meaning="messages written by the customer"),
        Measure(
            "negative_messages",
            "count",
            SPANS,
            where=SAID & col("text").matches(NEGATIVE),
            meaning="with negative words",
        ),
        Measure("message_length", "mean", ("30d",), col("text").length(), SAID, "mean characters of a message"),
        Measure("conversations", "distinct", ("30d",), col("thread_id"), meaning="different conversations"),
        Measure("channels", "distinct", ("30d",), col("channel"), SAID, "different channels"),
        Measure("bot_messages", "count", ("30d",), where=col("author_role") == "bot", meaning="messages of the bot"),
        Measure("channel", "last", ("30d",), col("channel"), SAID, "channel last used", text=True),
        Measure("since_message", "since", ("30d",), where=SAID, meaning="seconds since the last message"),
    ),
    derived=(
        Ratio(
            "customer__negative_share__30d",
            "customer__negative_messages__30d",
            "customer__messages__30d",
            "share of messages with negative words",
        ),
    ),
)

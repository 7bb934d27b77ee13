"""What a customer says, and how: tone, channels, repeat contact."""

from features.declare import CUSTOMER, Derived, Expect, Group, Measure, coalesce, col, when
from features.declare.word_lists import NEGATIVE, frustration

SAID = col("author_role") == "customer"
TEXT, MONTH = col("text"), ("30d",)
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
            "negative_share", "share", MONTH, TEXT.matches(NEGATIVE), SAID, "share of messages with negative words"
        ),
        Measure("frustration", "mean", MONTH, frustration(TEXT), SAID, "mean points for frustration of a message"),
        Measure("frustration_peak", "max", MONTH, frustration(TEXT), SAID, "most points for frustration of a message"),
        Measure("frustration_slope", "slope", MONTH, frustration(TEXT), SAID, "points for frustration gained a day"),
        Measure(
            "frustration_late",
            "decayed",
            MONTH,
            frustration(TEXT),
            SAID,
            "points for frustration, late",
            half_life="3d",
        ),
        Measure("message_length", "mean", MONTH, TEXT.length(), SAID, "mean characters of a message"),
        Measure("at_night", "share", MONTH, col("event_time").hour() < 6, SAID, "share of messages before 06:00 UTC"),
        Measure("conversations", "distinct", SPANS, col("thread_id"), SAID, "different conversations"),
        Measure("channels", "distinct", MONTH, col("channel"), SAID, "different channels"),
        Measure("first_channel", "first", MONTH, col("channel"), SAID, "channel used first"),
        Measure("channel", "last", MONTH, col("channel"), SAID, "channel used last"),
        Measure("since_message", "since", MONTH, where=SAID, meaning="seconds since the last message"),
        Measure("since_answer", "since", MONTH, where=~SAID, meaning="seconds since the last answer"),
    ),
    derived=(
        Derived(
            "customer__channel_switched__30d",
            when(col("customer__first_channel__30d") != col("customer__channel__30d"), 1, 0),
            "1: the channel used last is another than the first",
            expect=Expect(0, 1, filled=1),
        ),
        Derived(
            "customer__repeat_contact__7d",
            when(col("customer__conversations__7d") > 1, 1, 0),
            "1: more than one conversation within the week",
            expect=Expect(0, 1, filled=1),
        ),
        Derived(
            "customer__waits__30d",
            # Who never got an answer waits as well.
            when(col("customer__since_message__30d") < coalesce(col("customer__since_answer__30d"), 10**9), 1, 0),
            "1: the customer wrote last",
            expect=Expect(0, 1, filled=1),
        ),
    ),
    pii="personal",
)

"""Who keeps whom waiting in the conversation of a ticket: silence, first answer, bot to agent."""

from features.declare import TICKET, Derived, Expect, Group, Measure, coalesce, col, when

ROLE, LIFE = col("author_role"), ("60d",)
SAID, BY_BOT, BY_AGENT = ROLE == "customer", ROLE == "bot", (ROLE == "agent") & (col("visibility") == "public")
FIRST_SAID, FIRST_ANSWER = col("ticket__since_first_turn__60d"), col("ticket__since_first_answer__60d")
FIRST_BOT = col("ticket__since_first_bot__60d")
SILENT, UNANSWERED = col("ticket__customer_silent__60d"), col("ticket__agent_silent__60d")
NEVER = 10**9

GROUP = Group(
    name="ticket_waiting",
    description="Silence and waits in the conversation of a ticket; what only agents read answers nobody.",
    owner="support",
    purpose="service",
    entity=TICKET,
    fact="interactions",
    where=col("thread_id").matches("^t"),
    measures=(
        Measure("customer_silent", "since", LIFE, where=SAID, meaning="seconds since the customer wrote"),
        Measure("agent_silent", "since", LIFE, where=BY_AGENT, meaning="seconds since an agent wrote"),
        Measure("since_first_turn", "age", LIFE, where=SAID, meaning="seconds since the customer first wrote"),
        Measure("since_first_answer", "age", LIFE, where=BY_AGENT, meaning="seconds since an agent first wrote"),
        Measure("since_first_bot", "age", LIFE, where=BY_BOT, meaning="seconds since a bot first wrote"),
        Measure("by_bot", "share", LIFE, BY_BOT, ~SAID, "share of answers that a bot gave"),
        Measure("notes", "share", LIFE, col("visibility") == "private", ~SAID, "share of answers that are notes"),
        Measure("handed_over", "share", LIFE, col("action") == "hand_over", ~SAID, "share of answers that hand over"),
    ),
    derived=(
        Derived(
            "ticket__customer_waits__60d",
            when(coalesce(SILENT, NEVER) < coalesce(UNANSWERED, NEVER), 1, 0),
            "1: the customer wrote after the last agent",
            expect=Expect(0, 1, filled=1),
        ),
        Derived(
            "ticket__first_wait__60d",
            FIRST_SAID - FIRST_ANSWER,
            "seconds from the customer's first message to an agent's; none while there is no answer",
        ),
        Derived(
            "ticket__bot_to_agent__60d",
            when(coalesce(FIRST_ANSWER, NEVER) < FIRST_BOT, 1, 0),
            "1: a bot wrote first, then an agent took over",
            expect=Expect(0, 1, filled=1),
        ),
    ),
)

"""How much a team has on its hands."""

from features.declare import QUEUE, Expect, Group, Measure, col, ratio

KIND, PRIORITY = col("kind"), col("priority")
ASSIGNED, RESOLVED = KIND == "assigned", KIND == "resolved"
SPANS = ("24h", "7d")

GROUP = Group(
    name="queue_load",
    description="What comes in at a team, what it gets done, and how urgent it is.",
    owner="support",
    purpose="service",
    entity=QUEUE,
    fact="ticket_events",
    measures=(
        Measure("assigned", "count", SPANS, where=ASSIGNED, meaning="tickets assigned"),
        Measure("resolved", "count", ("7d",), where=RESOLVED, meaning="tickets resolved"),
        Measure("tickets", "distinct", ("7d",), col("ticket_id"), meaning="different tickets"),
        Measure("event_rate", "rate", ("7d", "28d"), meaning="events a day"),
        Measure("escalated", "share", ("28d",), KIND == "escalated", meaning="share of events that escalate"),
        Measure("weekend", "share", ("28d",), col("event_time").weekday() >= 5, ASSIGNED, "assigned on weekends"),
        Measure("urgency", "mean", ("7d",), PRIORITY, ASSIGNED, "mean priority, 1 is urgent", expect=Expect(1, 5)),
        Measure("urgency_late", "decayed", ("28d",), PRIORITY, ASSIGNED, "priority, late", half_life="3d"),
        Measure("urgency_slope", "slope", ("28d",), PRIORITY, ASSIGNED, "priority gained a day, down is worse"),
        Measure("category", "last", ("7d",), col("category"), ASSIGNED, "category assigned last"),
        Measure("since_assigned", "since", ("28d",), where=ASSIGNED, meaning="seconds since the last assignment"),
    ),
    derived=(
        ratio("queue__done__7d", "queue__resolved__7d", "queue__assigned__7d", "resolved per assigned"),
        ratio("queue__rate_trend__7d_28d", "queue__event_rate__7d", "queue__event_rate__28d", "recent load to usual"),
    ),
    pii="none",
)

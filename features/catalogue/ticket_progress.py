"""How far a ticket has come."""

from features.spec import TICKET, Group, Measure, col

KIND = col("kind")
LIFE = ("90d",)

GROUP = Group(
    name="ticket_progress",
    description="The life of a ticket so far: age, hand-offs, urgency, team.",
    owner="support",
    purpose="service",
    entity=TICKET,
    fact="ticket_events",
    measures=(
        Measure("events", "count", ("24h", "7d", *LIFE), meaning="events"),
        Measure("age", "since", LIFE, where=KIND == "opened", meaning="seconds since it was opened"),
        Measure("since_event", "since", LIFE, meaning="seconds since the last event"),
        Measure("assignments", "count", ("7d", *LIFE), where=KIND == "assigned", meaning="assignments"),
        Measure("teams", "distinct", LIFE, col("assignment_group"), meaning="different teams"),
        Measure("reopened", "count", LIFE, where=KIND == "reopened", meaning="times reopened"),
        Measure("escalations", "count", LIFE, where=KIND == "escalated", meaning="times escalated"),
        Measure("urgency", "last", LIFE, col("priority"), meaning="priority, 1 is urgent"),
        Measure("most_urgent", "min", LIFE, col("priority"), meaning="most urgent priority it ever had"),
        Measure("category", "last", LIFE, col("category"), meaning="category", text=True),
        Measure("team", "last", LIFE, col("assignment_group"), meaning="team that holds it", text=True),
        Measure("channel", "last", LIFE, col("channel"), meaning="how it came in", text=True),
    ),
)

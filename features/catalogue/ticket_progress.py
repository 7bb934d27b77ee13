"""How far a ticket has come."""

from features.declare import TICKET, Derived, Expect, Group, Measure, col, when

KIND, LIFE = col("kind"), ("90d",)
TEAM, PRIORITY = col("assignment_group"), col("priority")

GROUP = Group(
    name="ticket_progress",
    description="The life of a ticket so far: age, hand-offs, urgency, team.",
    owner="support",
    purpose="service",
    entity=TICKET,
    fact="ticket_events",
    measures=(
        Measure("events", "count", ("24h", *LIFE), meaning="events"),
        Measure("age", "age", LIFE, where=KIND == "opened", meaning="seconds since it was opened"),
        Measure("since_event", "since", LIFE, meaning="seconds since the last event"),
        Measure(
            "since_assigned", "since", LIFE, where=KIND == "assigned", meaning="seconds since it was last assigned"
        ),
        Measure("assignments", "count", LIFE, where=KIND == "assigned", meaning="assignments"),
        Measure("teams", "distinct", LIFE, TEAM, meaning="different teams"),
        Measure("reopened", "count", LIFE, where=KIND == "reopened", meaning="times reopened"),
        Measure("escalations", "count", LIFE, where=KIND == "escalated", meaning="times escalated"),
        Measure("urgency", "last", LIFE, PRIORITY, meaning="priority, 1 is urgent", default=3, expect=Expect(1, 5)),
        Measure("most_urgent", "min", LIFE, PRIORITY, meaning="most urgent priority ever", expect=Expect(1, 5)),
        Measure("least_urgent", "max", LIFE, PRIORITY, meaning="least urgent priority ever", expect=Expect(1, 5)),
        Measure("category", "last", LIFE, col("category"), meaning="category", empty="none"),
        Measure("first_team", "first", LIFE, TEAM, meaning="team that held it first"),
        Measure("team", "last", LIFE, TEAM, meaning="team that holds it"),
        Measure("channel", "last", LIFE, col("channel"), meaning="how it came in"),
    ),
    derived=(
        Derived(
            "ticket__moved__90d",
            when(col("ticket__first_team__90d") != col("ticket__team__90d"), 1, 0),
            "1: another team holds it than the first",
            expect=Expect(0, 1, filled=1),
        ),
        Derived(
            "ticket__urgency_range__90d",
            col("ticket__least_urgent__90d") - col("ticket__most_urgent__90d"),
            "how far the priority moved",
            expect=Expect(0, 4),
        ),
    ),
)

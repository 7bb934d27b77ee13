"""How often a customer needs help these months, and how it goes."""

from features.declare import CUSTOMER, Derived, Expect, Group, Measure, col, ratio, when

KIND = col("kind")
OPENED = KIND == "opened"
MONTHS, QUARTER = ("30d", "90d"), ("90d",)

GROUP = Group(
    name="customer_tickets",
    description="Tickets of a customer: opened, escalated, reopened, handed on.",
    owner="support",
    purpose="service",
    entity=CUSTOMER,
    fact="ticket_events",
    measures=(
        Measure("tickets", "count", ("7d", *MONTHS), where=OPENED, meaning="tickets opened"),
        Measure("escalations", "count", QUARTER, where=KIND == "escalated", meaning="escalations"),
        Measure("hand_offs", "count", QUARTER, where=KIND == "assigned", meaning="assignments"),
        Measure("teams", "distinct", QUARTER, col("assignment_group"), KIND == "assigned", "different teams"),
        Measure("ticket_categories", "distinct", QUARTER, col("category"), OPENED, "different categories"),
        Measure("ticket_urgency", "mean", QUARTER, col("priority"), OPENED, "mean priority, 1 is urgent"),
        Measure("since_ticket", "since", QUARTER, where=OPENED, meaning="seconds since the last ticket"),
    ),
    derived=(
        ratio(
            "customer__hand_offs_per_ticket__90d",
            "customer__hand_offs__90d",
            "customer__tickets__90d",
            "hand-offs a ticket",
            expect=Expect(least=0),
        ),
        ratio(
            "customer__tickets_trend__30d_90d",
            "customer__tickets__30d",
            "customer__tickets__90d",
            "share of recent tickets",
            expect=Expect(0, 1),
        ),
        Derived(
            "customer__repeat_ticket__30d",
            when((col("customer__tickets__30d") > 1) & (col("customer__since_ticket__90d") < 7 * 86_400), 1, 0),
            "1: came back within the week with one more ticket of the month",
            expect=Expect(0, 1, filled=1),
        ),
    ),
)

"""How often a customer needed help, and how it went."""

from features.spec import CUSTOMER, Group, Measure, Ratio, col

KIND = col("kind")
MONTHS = ("30d", "90d")

GROUP = Group(
    name="customer_tickets",
    description="Tickets of a customer: opened, escalated, reopened, handed on.",
    owner="support",
    purpose="service",
    entity=CUSTOMER,
    fact="ticket_events",
    measures=(
        Measure("tickets", "count", ("7d", *MONTHS), where=KIND == "opened", meaning="tickets opened"),
        Measure("escalations", "count", ("90d",), where=KIND == "escalated", meaning="escalations"),
        Measure("reopened", "count", ("90d",), where=KIND == "reopened", meaning="tickets reopened"),
        Measure("hand_offs", "count", MONTHS, where=KIND == "assigned", meaning="assignments"),
        Measure("ticket_categories", "distinct", ("90d",), col("category"), meaning="different categories"),
        Measure("ticket_urgency", "mean", ("90d",), col("priority"), KIND == "opened", "mean priority, 1 is urgent"),
        Measure("since_ticket", "since", ("90d",), where=KIND == "opened", meaning="seconds since the last ticket"),
    ),
    derived=(
        Ratio(
            "customer__hand_offs_per_ticket__90d",
            "customer__hand_offs__90d",
            "customer__tickets__90d",
            "hand-offs a ticket",
        ),
        Ratio(
            "customer__tickets_trend__30d_90d",
            "customer__tickets__30d",
            "customer__tickets__90d",
            "share of recent tickets",
        ),
    ),
)

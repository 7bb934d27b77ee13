"""Which actions were tried on a customer, and what came of them."""

from features.spec import CUSTOMER, Group, Measure, col

GROUP = Group(
    name="customer_offers",
    description="Actions that were chosen for a customer.",
    owner="decisions",
    purpose="service",
    entity=CUSTOMER,
    fact="decisions",
    measures=(
        Measure("decisions", "count", ("30d", "90d"), meaning="decisions"),
        Measure("discounts", "count", ("90d",), where=col("choice") == "discount", meaning="discounts offered"),
        Measure("last_action", "last", ("90d",), col("choice"), meaning="action chosen last", text=True),
        Measure("since_decision", "since", ("90d",), meaning="seconds since the last decision"),
    ),
)

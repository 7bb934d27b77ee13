"""Which actions were tried on a customer."""

from features.declare import CUSTOMER, Group, Measure, col

CHOICE, SPAN = col("choice"), ("90d",)

GROUP = Group(
    name="customer_offers",
    description="Actions that were chosen for a customer.",
    owner="decisions",
    purpose="service",
    entity=CUSTOMER,
    fact="decisions",
    measures=(
        Measure("decisions", "count", SPAN, meaning="decisions"),
        Measure("discounted", "share", SPAN, CHOICE == "discount", meaning="share of decisions for a discount"),
        Measure("actions", "distinct", SPAN, CHOICE, meaning="different actions"),
        Measure("explored", "mean", SPAN, col("propensity"), meaning="mean probability of the choice", scale=10**6),
        Measure("first_action", "first", SPAN, CHOICE, meaning="action chosen first"),
        Measure("last_action", "last", SPAN, CHOICE, meaning="action chosen last"),
        Measure("since_decision", "since", SPAN, meaning="seconds since the last decision"),
    ),
)

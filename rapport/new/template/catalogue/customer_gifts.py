"""What a customer sends as a gift: a group over a fact of Rapport's that reads the company's own column."""

from features.declare import CUSTOMER, Group, Measure, col

GROUP = Group(
    name="customer_gifts",
    description="Gifts among the orders of a customer.",
    owner="commerce",
    purpose="service",
    entity=CUSTOMER,
    fact="transactions",
    where=col("kind") == "order",
    measures=(
        Measure("gifts", "count", ("90d",), where=col("gift"), meaning="orders sent as gifts"),
        Measure("gift_spend", "sum", ("90d",), col("amount_minor"), col("gift"), "minor units spent on gifts"),
    ),
)

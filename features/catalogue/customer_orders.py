"""What a customer buys and sends back."""

from features.spec import CUSTOMER, Group, Measure, Ratio, col

ORDER = col("kind") == "order"
REFUND = col("kind") == "refund"
MONTHS = ("30d", "90d")

GROUP = Group(
    name="customer_orders",
    description="Orders and refunds of a customer, in minor units of the currency.",
    owner="commerce",
    purpose="service",
    entity=CUSTOMER,
    fact="transactions",
    measures=(
        Measure("orders", "count", ("7d", *MONTHS), where=ORDER, meaning="order lines"),
        Measure("spend", "sum", MONTHS, col("amount_minor"), ORDER, "amount ordered"),
        Measure("order_value", "mean", ("90d",), col("amount_minor"), ORDER, "mean amount of an order line"),
        Measure("largest_order", "max", ("90d",), col("amount_minor"), ORDER, "largest order line"),
        Measure("refunds", "count", MONTHS, where=REFUND, meaning="refunds"),
        Measure("refunded", "sum", ("90d",), col("amount_minor"), REFUND, "amount refunded"),
        Measure("products", "distinct", ("90d",), col("product"), ORDER, "different products ordered"),
        Measure("since_order", "since", ("90d",), where=ORDER, meaning="seconds since the last order"),
    ),
    derived=(
        Ratio(
            "customer__orders_trend__30d_90d",
            "customer__orders__30d",
            "customer__orders__90d",
            "share of recent orders",
        ),
        Ratio(
            "customer__refund_share__90d", "customer__refunds__90d", "customer__orders__90d", "refunds per order line"
        ),
    ),
)

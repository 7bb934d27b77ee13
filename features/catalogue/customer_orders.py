"""What a customer buys and sends back."""

from features.declare import CUSTOMER, Expect, Group, Measure, col, ratio

ORDER = col("kind") == "order"
REFUND = col("kind") == "refund"
AMOUNT = col("amount_minor")
MONTHS, QUARTER = ("30d", "90d"), ("90d",)
AT_LEAST_0 = Expect(least=0)

GROUP = Group(
    name="customer_orders",
    description="Orders and refunds of a customer, in minor units of the currency.",
    owner="commerce",
    purpose="service",
    entity=CUSTOMER,
    fact="transactions",
    measures=(
        Measure("orders", "count", MONTHS, where=ORDER, meaning="order lines"),
        Measure("spend", "sum", MONTHS, AMOUNT, ORDER, "amount ordered", expect=AT_LEAST_0),
        Measure("order_value", "mean", QUARTER, AMOUNT, ORDER, "mean amount of an order line", expect=AT_LEAST_0),
        Measure("order_slope", "slope", QUARTER, AMOUNT, ORDER, "amount of an order line gained a day"),
        Measure("order_late", "decayed", QUARTER, AMOUNT, ORDER, "amount of an order line, late", half_life="14d"),
        Measure("largest_order", "max", QUARTER, AMOUNT, ORDER, "largest order line", expect=AT_LEAST_0),
        Measure("refunds", "count", QUARTER, where=REFUND, meaning="refunds"),
        Measure("refunded", "sum", QUARTER, AMOUNT, REFUND, "amount refunded", expect=AT_LEAST_0),
        Measure("products", "distinct", QUARTER, col("product"), ORDER, "different products ordered"),
        Measure("product", "last", QUARTER, col("product"), ORDER, "product ordered last"),
        Measure("since_order", "since", QUARTER, where=ORDER, meaning="seconds since the last order"),
    ),
    derived=(
        ratio(
            "customer__orders_trend__30d_90d",
            "customer__orders__30d",
            "customer__orders__90d",
            "share of recent orders",
            expect=Expect(0, 1),
        ),
        ratio(
            "customer__refund_share__90d",
            "customer__refunds__90d",
            "customer__orders__90d",
            "refunds per order line",
            expect=AT_LEAST_0,
        ),
    ),
)

"""How a customer uses site and product."""

from features.spec import CUSTOMER, Group, Measure, Ratio, col

KIND = col("kind")
SPANS = ("7d", "30d")

GROUP = Group(
    name="customer_activity",
    description="Page views, logins, searches and product use of a customer.",
    owner="product",
    purpose="service",
    entity=CUSTOMER,
    fact="behaviours",
    measures=(
        Measure("views", "count", ("24h", *SPANS), where=KIND == "page_view", meaning="page views"),
        Measure("logins", "count", SPANS, where=KIND == "login", meaning="logins"),
        Measure("searches", "count", SPANS, where=KIND == "search", meaning="searches"),
        Measure("product_use", "count", SPANS, where=KIND == "product_use", meaning="uses of the product"),
        Measure("time_spent", "sum", SPANS, col("duration_ms"), meaning="milliseconds spent"),
        Measure("sessions", "distinct", ("30d",), col("session_id"), meaning="different sessions"),
        Measure("since_activity", "since", ("30d",), meaning="seconds since the last sign of life"),
    ),
    derived=(
        Ratio("customer__views_trend__7d_30d", "customer__views__7d", "customer__views__30d", "share of recent views"),
        Ratio(
            "customer__time_trend__7d_30d",
            "customer__time_spent__7d",
            "customer__time_spent__30d",
            "share of recent time",
        ),
    ),
)

"""What a customer does on site and in the product, by the minute: recent activity, product use, ways of browsing."""

from features.declare import CUSTOMER, Expect, Group, Measure, col, ratio

KIND, PAGE = col("kind"), col("page")
NOW, MONTH = ("5m", "1h", "24h"), "30d"

GROUP = Group(
    name="customer_activity",
    description="Clicks, logins and product use of a customer, those of visitors included who turned out to be one.",
    owner="product",
    purpose="service",
    entity=CUSTOMER,
    fact="behaviours",
    served="live",
    measures=(
        Measure("views", "count", (*NOW, MONTH), where=KIND == "page_view", meaning="page views"),
        Measure("product_use", "count", ("24h", MONTH), where=KIND == "product_use", meaning="product uses"),
        Measure("logins", "rate", (MONTH,), where=KIND == "login", meaning="logins a day"),
        Measure("searching", "share", (MONTH,), KIND == "search", meaning="share of clicks that search"),
        Measure(
            "seeking_help",
            "share",
            ("24h", MONTH),
            PAGE.isin("help", "status", "contact"),
            meaning="share of clicks on pages for those in trouble",
        ),
        Measure("shopping", "share", (MONTH,), PAGE.isin("offers", "pricing", "shop"), meaning="share in the shop"),
        Measure("time_spent", "sum", ("7d", MONTH), col("duration_ms"), meaning="milliseconds spent"),
        Measure(
            "linger", "decayed", (MONTH,), col("duration_ms"), half_life="3d", meaning="milliseconds a click, late"
        ),
        Measure("sessions", "distinct", ("24h", MONTH), col("session_id"), meaning="different sessions"),
        Measure("identities", "distinct", (MONTH,), col("source_id"), meaning="different ids, accounts and devices"),
        Measure("page", "last", (MONTH,), PAGE, meaning="page last seen"),
        Measure("since_activity", "since", (MONTH,), meaning="seconds since the last sign of life"),
    ),
    derived=(
        ratio(
            "customer__time_trend__7d_30d",
            "customer__time_spent__7d",
            "customer__time_spent__30d",
            "share of recent time",
            expect=Expect(0, 1),
        ),
    ),
)

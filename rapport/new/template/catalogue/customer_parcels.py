"""How a customer's parcels came."""

from features.declare import CUSTOMER, Group, Measure, col, ratio

GROUP = Group(
    name="customer_parcels",
    description="Parcels of a customer, and how long they took.",
    owner="logistics",
    purpose="service",
    entity=CUSTOMER,
    fact="parcels",
    measures=(
        Measure("parcels", "count", ("30d", "90d"), meaning="parcels that came or were lost"),
        Measure("parcel_days", "mean", ("90d",), col("days"), meaning="mean days under way"),
        Measure("late_parcels", "count", ("30d", "90d"), where=col("days") >= 5, meaning="parcels of 5 days or more"),
    ),
    derived=(
        ratio(
            "customer__late_share__90d",
            "customer__late_parcels__90d",
            "customer__parcels__90d",
            "share of late ones",
        ),
    ),
)

"""Who a customer is, in the words of the CRM."""

from features.spec import CUSTOMER, Group, Measure, col

YEAR = ("365d",)

GROUP = Group(
    name="customer_profile",
    description="The newest version of a customer in the CRM.",
    owner="crm",
    purpose="service",
    entity=CUSTOMER,
    fact="customers",
    measures=(
        Measure("segment", "last", YEAR, col("segment"), meaning="segment", text=True),
        Measure("tier", "last", YEAR, col("tier"), meaning="loyalty tier", text=True),
        Measure("region", "last", YEAR, col("region"), meaning="region", text=True),
        Measure("language", "last", YEAR, col("language"), meaning="preferred language", text=True),
        Measure("plan", "last", YEAR, col("plan"), meaning="plan", text=True),
        Measure("profile_changes", "count", YEAR, meaning="versions in the CRM"),
    ),
)

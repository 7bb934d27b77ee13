"""Who a customer is, in the words of the CRM."""

from features.declare import CUSTOMER, Expect, Group, Measure, col

YEAR = ("365d",)

GROUP = Group(
    name="customer_profile",
    description="The newest version of a customer in the CRM.",
    owner="crm",
    purpose="service",
    entity=CUSTOMER,
    fact="customers",
    measures=(
        Measure("segment", "last", YEAR, col("segment"), meaning="segment", default="consumer"),
        Measure("first_segment", "first", YEAR, col("segment"), meaning="segment of the first version"),
        Measure("tier", "last", YEAR, col("tier"), meaning="loyalty tier", empty="none", default="none"),
        Measure("region", "last", YEAR, col("region"), meaning="region"),
        Measure("language", "last", YEAR, col("language"), meaning="preferred language", expect=Expect(filled=0.5)),
        Measure("plan", "last", YEAR, col("plan"), meaning="plan"),
        Measure("profile_changes", "count", YEAR, meaning="versions in the CRM"),
        Measure("since_joining", "age", YEAR, meaning="seconds since the first version"),
    ),
    pii="personal",
)

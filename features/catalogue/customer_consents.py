"""What a customer lets us do with the data."""

from features.declare import CUSTOMER, Expect, Group, Measure, col

KIND, PURPOSE = col("kind"), col("purpose")
YEAR = ("365d",)
TOLD = Expect(filled=1)

GROUP = Group(
    name="customer_consents",
    description="Purposes granted and withdrawn. What is allowed is asked of the facts as known now, not of these.",
    owner="privacy",
    purpose="service",
    entity=CUSTOMER,
    fact="consents",
    measures=(
        Measure(
            "marketing",
            "last",
            YEAR,
            KIND,
            PURPOSE == "marketing",
            "what was said last of marketing",
            empty="unknown",
            default="unknown",
            expect=TOLD,
        ),
        Measure(
            "research",
            "last",
            YEAR,
            KIND,
            PURPOSE == "research",
            "what was said last of research",
            empty="unknown",
            default="unknown",
            expect=TOLD,
        ),
        Measure(
            "personalised",
            "last",
            YEAR,
            KIND,
            PURPOSE == "personalisation",
            "what was said last of personalisation",
            empty="unknown",
            default="unknown",
            expect=TOLD,
        ),
        Measure("granted", "distinct", YEAR, PURPOSE, KIND == "granted", "purposes ever granted"),
        Measure("withdrawn", "share", YEAR, KIND == "withdrawn", meaning="share of answers that withdraw"),
        Measure("since_consent", "since", YEAR, meaning="seconds since the last answer"),
    ),
    pii="personal",
)

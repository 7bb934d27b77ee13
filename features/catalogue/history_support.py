"""What a customer went through before: a year of issues and how they ended."""

from features.declare import CUSTOMER, Derived, Expect, Group, Measure, col, when

KIND, YEAR = col("kind"), ("365d",)
OPENED = KIND == "opened"
LAST_OPENED, LAST_RESOLVED = col("customer__since_issue__365d"), col("customer__since_resolution__365d")

GROUP = Group(
    name="history_support",
    description="A year of support: past issues, what they were about, how long the last one took.",
    owner="support",
    purpose="service",
    entity=CUSTOMER,
    fact="ticket_events",
    measures=(
        Measure("past_issues", "distinct", YEAR, col("ticket_id"), KIND == "resolved", "different issues resolved"),
        Measure("reopened", "share", YEAR, KIND == "reopened", KIND.isin("opened", "reopened"), "openings again"),
        Measure("escalated", "share", YEAR, KIND == "escalated", KIND.isin("opened", "escalated"), "escalations"),
        Measure("urgent", "share", YEAR, col("priority") <= 2, OPENED, "share of issues of priority 1 or 2"),
        Measure("most_urgent", "min", YEAR, col("priority"), OPENED, "most urgent priority", expect=Expect(1, 5)),
        Measure("first_issue", "first", YEAR, col("category"), OPENED, "category of the first issue"),
        Measure("last_issue", "last", YEAR, col("category"), OPENED, "category of the last issue"),
        Measure("since_issue", "since", YEAR, where=OPENED, meaning="seconds since the last issue came in"),
        Measure("since_first_issue", "age", YEAR, where=OPENED, meaning="seconds since the first issue came in"),
        Measure(
            "since_resolution", "since", YEAR, where=KIND == "resolved", meaning="seconds since the last resolution"
        ),
    ),
    derived=(
        Derived(
            "customer__resolution_seconds__365d",
            # A division by zero has no value: the last issue is not resolved yet.
            (LAST_OPENED - LAST_RESOLVED) / when(LAST_OPENED >= LAST_RESOLVED, 1, 0),
            "seconds from the last issue's coming in to the last resolution after it",
            expect=Expect(least=0),
        ),
        Derived(
            "customer__same_issue__365d",
            when(
                (col("customer__first_issue__365d") == col("customer__last_issue__365d"))
                & (col("customer__since_first_issue__365d") > LAST_OPENED),
                1,
                0,
            ),
            "1: the last issue is about what the first one was about",
            expect=Expect(0, 1, filled=1),
        ),
    ),
    pii="personal",
)

"""What a customer said when asked: satisfaction, recommendation, effort."""

from features.declare import CUSTOMER, Expect, Group, Measure, coalesce, col, ratio, when
from features.declare.word_lists import NEGATIVE

SURVEY, SCORE, WEIGHT = col("survey"), col("score"), coalesce(col("weight"), 1.0)
CSAT, NPS, CES = SURVEY == "csat", SURVEY == "nps", SURVEY == "ces"
# What was asked does not matter here: 0 is the worst answer, 1 the best.
CONTENT = when(CSAT, (SCORE - 1) / 4, when(NPS, SCORE / 10, (SCORE - 1) / 6))
YEAR, ASKED = ("365d",), CSAT | NPS | CES

GROUP = Group(
    name="history_surveys",
    description="Answers of a customer to surveys: csat of 1 to 5, nps of 0 to 10, ces of 1 to 7.",
    owner="research",
    purpose="service",
    entity=CUSTOMER,
    fact="survey_answers",
    measures=(
        Measure("answers", "count", YEAR, meaning="answers"),
        Measure("csat", "mean", YEAR, SCORE, CSAT, "mean satisfaction", scale=100),
        Measure("content", "mean", YEAR, CONTENT, ASKED, "mean answer from 0 to 1", 1000, expect=Expect(0, 1)),
        Measure("content_late", "decayed", YEAR, CONTENT, ASKED, "answer from 0 to 1, late", 1000, "30d"),
        Measure("content_slope", "slope", YEAR, CONTENT, ASKED, "answer from 0 to 1 gained a day", 1000),
        Measure("csat_least", "min", YEAR, SCORE, CSAT, "least satisfaction", scale=100),
        Measure("unhappy", "share", YEAR, SCORE <= 2, CSAT, "share of satisfaction of 1 or 2"),
        Measure("effort", "mean", YEAR, SCORE, CES, "mean ease of getting help", scale=100),
        Measure("nps_score", "sum", YEAR, SCORE * WEIGHT, NPS, "weighted sum of recommendations", scale=100),
        Measure("nps_weight", "sum", YEAR, WEIGHT, NPS, "sum of their weights", scale=100),
        Measure("grumbled", "share", YEAR, col("verbatim").matches(NEGATIVE), meaning="share of words that complain"),
        Measure("since_survey", "since", YEAR, meaning="seconds since the last answer"),
    ),
    derived=(
        ratio(
            "customer__nps__365d",
            "customer__nps_score__365d",
            "customer__nps_weight__365d",
            "weighted mean recommendation",
            expect=Expect(0, 10.01),
        ),
    ),
    pii="personal",
)

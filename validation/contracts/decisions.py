"""What policies decided for customers, and what came of it."""

from validation.contracts.language import Column, Contract

DECISIONS = Contract(
    "decisions",
    "what a policy decided for a customer",
    (
        Column("decision_id", "text", "decision", required=True),
        Column("policy", "text", "policy that decided", required=True),
        Column("candidates", "text", "actions it could choose from, joined by a bar", required=True),
        Column("choice", "text", "action chosen", required=True),
        Column(
            "propensity", "decimal", "probability of the choice under the policy", required=True, least=1e-6, most=1.0
        ),
    ),
)
OUTCOMES = Contract(
    "outcomes",
    "what came of a decision",
    (
        Column("decision_id", "text", "decision", required=True),
        Column("kind", "text", "what was measured", required=True, allowed=("reward", "rating", "annotation")),
        Column("value", "decimal", "how much of it", required=True, least=-1e9, most=1e9, hindsight=True),
    ),
)

"""What customers allow their data to be used for."""

from validation.contracts.language import Column, Contract
from validation.contracts.words import PURPOSES

CONSENTS = Contract(
    "consents",
    "a purpose granted or withdrawn",
    (
        Column("purpose", "text", "what the data may be used for", required=True, allowed=PURPOSES),
        Column("kind", "text", "what was said", required=True, allowed=("granted", "withdrawn")),
    ),
)

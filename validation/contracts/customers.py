"""Who customers are: versions of them in the CRM, and which ids of a source are theirs."""

from validation.contracts.language import Column, Contract, Rule
from validation.contracts.words import LINKS

CUSTOMERS = Contract(
    "customers",
    "a version of a customer in the CRM",
    (
        Column("segment", "text", "segment of the CRM", required=True, pattern=r"[a-z_]+"),
        Column("tier", "text", "loyalty tier", allowed=("bronze", "silver", "gold", "platinum")),
        Column("region", "text", "region"),
        Column("language", "text", "preferred language", pattern=r"[a-z]{2}"),
        Column("plan", "text", "plan"),
    ),
)
IDENTITY_LINKS = Contract(
    "identity_links",
    "an id of a source is, or is no longer, a customer",
    (
        Column("kind", "text", "whether the id is somebody's or nobody's from here on", required=True, allowed=LINKS),
        Column("customer", "text", "company-wide id of the customer that it is"),
        Column("backwards", "boolean", "whether it holds before its event time too, while nothing older speaks"),
    ),
    (Rule("link_to_nobody", "given_when", ("customer", "kind"), ("linked",)),),
)

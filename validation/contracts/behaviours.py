"""What customers do on the site and in the product."""

from validation.contracts.language import Column, Contract

BEHAVIOURS = Contract(
    "behaviours",
    "a page view, login, product use or search",
    (
        Column("kind", "text", "what it is", required=True, allowed=("page_view", "login", "product_use", "search")),
        Column("session_id", "text", "session", required=True),
        Column("page", "text", "page or feature"),
        Column("duration_ms", "integer", "how long, in milliseconds", least=0, most=86_400_000),
    ),
)

"""Orders, payments, refunds and changes of plan."""

from validation.contracts.language import Column, Contract, Rule

TRANSACTIONS = Contract(
    "transactions",
    "an order line, payment, refund or change of plan",
    (
        Column(
            "kind",
            "text",
            "what it is",
            required=True,
            allowed=("order", "payment", "refund", "plan_change", "adjustment"),
        ),
        Column("order_id", "text", "order", required=True),
        Column("product", "text", "product"),
        Column("quantity", "integer", "number of pieces"),
        Column("amount_minor", "integer", "amount in minor units of the currency", required=True, most=10_000_000_00),
        Column("currency", "text", "ISO 4217", required=True, pattern=r"[A-Z]{3}"),
    ),
    (Rule("negative_amount", "not_negative", ("amount_minor", "kind"), ("order", "payment", "refund")),),
    anonymous=True,
)

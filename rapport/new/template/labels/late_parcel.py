"""Whether a parcel of the customer comes late."""

from datetime import timedelta

from features.declare import CUSTOMER
from training.data.label import Label

LABEL = Label(
    "late_parcel",
    "1: a parcel of five days or more comes within the horizon, of customers who ordered lately",
    CUSTOMER,
    ("transactions", "parcels"),
    frozenset({"days"}),
    timedelta(days=14),
    # Who is asked about on a night, as it was known then: $cutoff is the night's end, $active the length below.
    eligible="""SELECT customer_id FROM known_transactions WHERE customer_id IS NOT NULL
        AND event_time <= $cutoff AND event_time > $cutoff - $active GROUP BY ALL""",
    # What came of it, as known when the model is trained.
    outcome="""SELECT s.*, coalesce(bool_or(p.days >= 5), false)::DOUBLE AS label, s.event_time + $horizon AS label_end
        FROM spine s LEFT JOIN known_parcels p ON p.customer_id = s.customer_id
        AND p.event_time > s.event_time AND p.event_time <= s.event_time + $horizon GROUP BY ALL""",
    active=timedelta(days=30),
    every=7,
    samples=14,
)

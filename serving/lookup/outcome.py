"""What the ladder gives for one entity, and the words for why a rung was skipped."""

from collections.abc import Mapping
from typing import NamedTuple

from rapport_feast.row.layout import Packable
from serving.forms.features import Rung, Status

Values = tuple[Packable, ...]
PRESENT: Status = "PRESENT"
NULL_VALUE: Status = "NULL_VALUE"
NOT_FOUND: Status = "NOT_FOUND"
OUTSIDE_MAX_AGE: Status = "OUTSIDE_MAX_AGE"
REASONS: Mapping[str, str] = {
    "not_found": "the store has no row",
    "stale": "what writes the rows is behind: the row is older than its freshness allows",
    "expired": "an event has left a window since the row was written",
    "definition": "the row was written by another definition of the group",
    "unreadable": "the row is not in the form of its view",
    "too_big": "the row is larger than any row can be",
    "wrong_type": "the store holds something else under this key",
    "unpublished": "the view is no longer published",
    "refused": "the store refused to read the key",
    "late": "the store did not answer by the deadline",
    "unreachable": "there is no connection to the store",
    "garbage": "the store answered what cannot be read, and the connection was closed",
    "overload": "too many reads are in flight",
}
EXPECTED_REASONS = frozenset({"not_found", "stale", "expired"})
AGE_REASONS = frozenset({"stale", "expired"})


class Outcome(NamedTuple):
    """What the ladder gives for one entity: all values of the view, and where they come from.

    Attributes
    ----------
    status
        Feast's word if there is no row on the first rung; None where each value says PRESENT or NULL_VALUE.
    reason
        Why not from the rungs above, in words of ``REASONS``.
    event_us, known_us, age_us
        Of the row; a default has none.
    """

    rung: Rung
    status: Status | None
    reason: str
    values: Values
    event_us: int = 0
    known_us: int = 0
    age_us: int | None = None

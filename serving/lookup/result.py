"""What a lookup read: outcomes by join key, and single values of them."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from rapport_feast.value_form import Value
from serving.forms.encoding import json_time_us
from serving.forms.features import ResponseInfo, Rung, Status
from serving.lookup.ladder import Ladder
from serving.lookup.outcome import NULL_VALUE, PRESENT, Outcome
from serving.lookup.plans import Plan
from serving.lookup.views import Reference
from serving.timestamps import moment

Rows = list[tuple[Ladder, list[Outcome]]]


class Reading(NamedTuple):
    """One value as it was served.

    Attributes
    ----------
    status
        Feast's word for the first rung.
    rung, reason
        Where the value comes from, and why not from above; the reason is empty on the first rung.
    event_us, age_us
        Of the row that the value stands in; a default has neither.
    """

    value: Value
    status: Status
    rung: Rung
    reason: str
    event_us: int | None = None
    age_us: int | None = None

    @property
    def event_time(self) -> datetime | None:
        """When the row is of."""
        return None if self.event_us is None else moment(self.event_us)

    @property
    def age_seconds(self) -> float | None:
        """How far behind the writer of the row is."""
        return None if self.age_us is None else self.age_us / 1e6


class LookupResult(NamedTuple):
    """What was read for a request.

    Attributes
    ----------
    served_us, applied_us
        When, and the log time the stream had applied before the read was sent.
    rows
        Per join key each ladder with its outcomes, in the order of the ids.
    degraded
        Whether a value fell for more than that it was never there.
    """

    served_us: int
    applied_us: int | None
    rows: Mapping[str, Rows]
    degraded: bool


def readings(plan: Plan, rows: Rows) -> list[dict[Reference, Reading]]:
    """Return the readings of each entity of a plan of one join key, by reference in the order requested."""
    entities = len(rows[0][1]) if rows else 0
    result: list[dict[Reference, Reading]] = [{} for _ in range(entities)]
    for ladder, outcomes in rows:
        for place, outcome in enumerate(outcomes):
            event_us = None if outcome.age_us is None else outcome.event_us
            for feature, value in zip(ladder.features, ladder.pick(outcome.values), strict=True):
                status = outcome.status or (PRESENT if value is not None else NULL_VALUE)
                result[place][Reference(ladder.name, feature)] = Reading(
                    value, status, outcome.rung, outcome.reason, event_us, outcome.age_us
                )
    return [{reference: one[reference] for reference in plan.references} for one in result]


def response_info(result: LookupResult, request: str) -> ResponseInfo:
    return {
        "request": request,
        "served_at": json_time_us(result.served_us),
        "applied": None if result.applied_us is None else json_time_us(result.applied_us),
        "degraded": result.degraded,
    }

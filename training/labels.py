"""Labels: what came after a moment, declared as specs over ``(t, t + horizon]`` with a maturity.

``spine.py`` makes the spine from them, which ``dataset.py`` fills with features. Whether somebody belongs to
a spine is read as it was known at that night's cutoff; what came of it as known at the night that trains.

Censoring: of the labels that wait for a ticket to close only closed tickets are known, and tickets opened shortly
before the training night are in the spine only if they closed fast. Rates among the newest rows are therefore not
rates of all tickets; the split keeps every row out of training that closed after the test slice began.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from features.spec import CUSTOMER, TICKET, Entity, Group
from infra.clock import DAY
from infra.errors import Rejected

HINDSIGHT: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "ticket_events": frozenset({"sla_met", "made_sla", "resolved_at", "resolved_by", "closed_at", "closed_code"}),
        "outcomes": frozenset({"value"}),
    }
)
"""Columns that say how it ended: meaningful on or after the last event only, so never inputs."""


@dataclass(frozen=True)
class Label:
    """What is to be predicted.

    Attributes
    ----------
    name, meaning
        ``meaning`` says what 1 (or the number) stands for.
    entity, facts
        Who it is about, and what it reads; the first fact decides who belongs to the spine.
    reads
        Columns that the label is computed from.
    horizon
        Length of the window, and the label is mature when it is over; None: mature when the ticket is closed.
    active
        How far back a fact makes somebody part of the spine.
    every, samples
        The spine holds every so-manieth night, at most so many.
    eligible, outcome
        SQL over ``known_<fact>``; ``outcome`` joins ``spine`` and gives ``label`` and ``label_end``.
    """

    name: str
    meaning: str
    entity: Entity
    facts: tuple[str, ...]
    reads: frozenset[str]
    horizon: timedelta | None
    eligible: str
    outcome: str
    active: timedelta = timedelta(days=90)
    every: int = 1
    samples: int = 90

    @property
    def binary(self) -> bool:
        """Whether the label is 0 or 1."""
        return self.name != "reward"

    def with_options(self, options: Mapping[str, Any]) -> "Label":
        """Return the label as a company file wants it: ``horizon_days``, ``active_days``, ``every``, ``samples``."""
        horizon, active = options.get("horizon_days"), options.get("active_days")
        found = replace(
            self,
            horizon=timedelta(days=horizon) if horizon and self.horizon else self.horizon,
            active=timedelta(days=active) if active else self.active,
            samples=options.get("samples", self.samples),
        )
        return replace(found, every=options.get("every", found._spacing()))

    def _spacing(self) -> int:
        """Space a spine of few nights so that it holds some on both sides of a gap as long as the horizon."""
        if self.horizon is None or self.every == 1:
            return self.every
        return max(self.every, self.horizon // (4 * DAY) // 7 * 7)


NO_ORDER = Label(
    "no_order",
    "1: no order follows within the horizon, of customers who ordered lately",
    CUSTOMER,
    ("transactions",),
    frozenset({"kind"}),
    timedelta(days=30),
    eligible="""SELECT customer_id FROM known_transactions WHERE customer_id IS NOT NULL AND kind = 'order'
        AND event_time <= $cutoff AND event_time > $cutoff - $active GROUP BY ALL""",
    outcome="""SELECT s.*, (count(f.event_time) = 0)::DOUBLE AS label, s.event_time + $horizon AS label_end
        FROM spine s LEFT JOIN known_transactions f ON f.customer_id = s.customer_id AND f.kind = 'order'
        AND f.event_time > s.event_time AND f.event_time <= s.event_time + $horizon GROUP BY ALL""",
    active=timedelta(days=60),
    every=7,
    samples=14,
)
OPEN_TICKETS = """SELECT ticket_id FROM known_ticket_events WHERE ticket_id IS NOT NULL AND event_time <= $cutoff
    GROUP BY ALL HAVING bool_or(kind = 'opened') AND max(event_time) > $cutoff - $active
    AND last(kind ORDER BY event_time, event_id) FILTER (kind IN ('opened', 'reopened', 'resolved', 'closed'))
    IN ('opened', 'reopened')"""
ESCALATED = Label(
    "escalated",
    "1: the ticket, open at t, is escalated within the horizon",
    TICKET,
    ("ticket_events",),
    frozenset({"kind"}),
    timedelta(days=7),
    eligible=OPEN_TICKETS,
    outcome="""SELECT s.*, (count(f.event_time) > 0)::DOUBLE AS label, s.event_time + $horizon AS label_end
        FROM spine s LEFT JOIN known_ticket_events f ON f.ticket_id = s.ticket_id AND f.kind = 'escalated'
        AND f.event_time > s.event_time AND f.event_time <= s.event_time + $horizon GROUP BY ALL""",
)
CLOSED = """WITH ended AS (SELECT ticket_id, max(event_time) FILTER (kind = 'closed') AS closed,
        last(kind ORDER BY event_time, event_id) FILTER (kind IN ('opened', 'reopened', 'closed')) AS state,
        {measure} AS label FROM known_ticket_events GROUP BY 1)
    SELECT s.*, label::DOUBLE AS label, closed AS label_end FROM spine s JOIN ended USING (ticket_id)
    WHERE state = 'closed' AND closed > s.event_time AND label IS NOT NULL"""
REASSIGNED_TWICE = Label(
    "reassigned_twice",
    "1: the ticket, open at t, was assigned at least twice by the time it closed",
    TICKET,
    ("ticket_events",),
    frozenset({"kind"}),
    None,
    # Of a ticket that was handed on twice already there is nothing left to foretell.
    eligible=f"{OPEN_TICKETS} AND count(*) FILTER (kind = 'assigned') < 2",
    outcome=CLOSED.format(measure="count(*) FILTER (kind = 'assigned') >= 2"),
)
SLA_MISSED = Label(
    "sla_missed",
    "1: the ticket, open at t, had missed its service level when it closed",
    TICKET,
    ("ticket_events",),
    frozenset({"kind", "sla_met"}),
    None,
    eligible=OPEN_TICKETS,
    outcome=CLOSED.format(measure="NOT last(sla_met ORDER BY event_time, event_id) FILTER (kind = 'closed')"),
)
REWARD = Label(
    "reward",
    "the reward that was measured within the horizon after a decision",
    CUSTOMER,
    ("decisions", "outcomes"),
    frozenset({"value"}),
    timedelta(days=7),
    eligible="",
    outcome="""SELECT d.customer_id, d.event_time, d.decision_id, d.choice, d.propensity, d.candidates,
        last(o.value ORDER BY o.event_time, o.event_id) AS label, d.event_time + $horizon AS label_end
        FROM known_decisions d JOIN known_outcomes o ON o.decision_id = d.decision_id AND o.kind = 'reward'
        AND o.event_time > d.event_time AND o.event_time <= d.event_time + $horizon
        WHERE d.customer_id IS NOT NULL GROUP BY ALL""",
)
LABELS: Mapping[str, Label] = MappingProxyType(
    {label.name: label for label in (NO_ORDER, ESCALATED, REASSIGNED_TWICE, SLA_MISSED, REWARD)}
)


def label_named(name: str, options: Mapping[str, Any]) -> Label:
    """Return a label with a model's options.

    Raises
    ------
    Rejected
        There is no such label.
    """
    if name not in LABELS:
        raise Rejected("label", f"one of {', '.join(LABELS)}", repr(name))
    return LABELS[name].with_options(options)


def refuse_label_inputs(label: Label, refs: Iterable[str], catalogue: Sequence[Group]) -> None:
    """Refuse features that know how it ended.

    Raises
    ------
    Rejected
        A reference names a hindsight column or the label, or its group reads a hindsight column.
    """
    groups = {group.view: group for group in catalogue}
    banned = frozenset().union(*HINDSIGHT.values())
    for ref in refs:
        view, _, name = ref.partition(":")
        group = groups.get(view)
        read = group.columns & HINDSIGHT.get(group.fact, frozenset()) if group else frozenset()
        found = sorted(read | {word for word in banned if word in name.split("__")})
        if found or name == label.name:
            raise Rejected(
                f"feature {name}",
                f"nothing that is known only with the label {label.name}",
                found[0] if found else name,
                "Take the column out of the feature group.",
            )

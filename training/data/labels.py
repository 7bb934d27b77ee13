"""The labels by name: Rapport's own, and where a company's are looked up.

Whether somebody belongs to a spine is read as it was known at that night's cutoff; what came of it as known at the
night that trains.

Censoring: of the labels that wait for a ticket to close only closed tickets are known, and tickets opened shortly
before the training night are in the spine only if they closed fast. Rates among the newest rows are therefore not
rates of all tickets; the split keeps every row out of training that closed after the test slice began.
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

from features.declare.entity import CUSTOMER, TICKET
from infra.company.company import Company
from infra.company.folder import Declaration, Folder
from infra.company.python_file import declared
from rapport_feast.errors import Rejected
from training.data.label import Label
from validation.contracts.own import contracts_in

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
    binary=False,
)
OWN = (NO_ORDER, ESCALATED, REASSIGNED_TWICE, SLA_MISSED, REWARD)


def labels_of(company: Company) -> Mapping[str, Label]:
    """Return the labels that a company can predict, by name: ours, and the files of its folder ``labels``.

    Raises
    ------
    Rejected
        A declaration is wrong.
    """
    return {label.name: label for label in OWN} | _in_folder(company.folder)


@lru_cache
def _in_folder(folder: Folder | None) -> dict[str, Label]:
    return {one.name: _declared(one, folder) for one in folder.of("labels")} if folder else {}


def _declared(declaration: Declaration, folder: Folder) -> Label:
    found = declared(declaration, "LABEL")
    if not isinstance(found, Label):
        raise Rejected(declaration.shown, "a Label", type(found).__name__)
    if found.name != declaration.name or found.name in {label.name for label in OWN}:
        raise Rejected(declaration.shown, "a label called as the file, and as none of ours", found.name)
    contracts = contracts_in(folder)
    if unknown := [fact for fact in found.facts if fact not in contracts]:
        raise Rejected(f"{declaration.shown}, facts", f"some of {', '.join(contracts)}", unknown[0])
    return found


def label_named(company: Company, name: str, options: Mapping[str, Any]) -> Label:
    """Return a label with a model's options.

    Raises
    ------
    Rejected
        There is no such label.
    """
    labels = labels_of(company)
    if name not in labels:
        raise Rejected("label", f"one of {', '.join(labels)}", repr(name))
    return labels[name].with_options(options)

"""Entities: what a feature is about."""

from collections.abc import Mapping
from dataclasses import dataclass

from validation.contracts.standard import CONTRACTS


@dataclass(frozen=True)
class Entity:
    """What a feature is about.

    Attributes
    ----------
    name, key
        ``customer`` and the column ``customer_id``.
    columns
        Fact = the column that names the entity in the words of the source.
    linked
        Whether identity links say which one it is; else the id with the prefix of its id space is the entity.
    """

    name: str
    key: str
    columns: Mapping[str, str]
    linked: bool = False


CUSTOMER = Entity(
    "customer", "customer_id", {fact: "source_id" for fact in CONTRACTS if fact != "identity_links"}, linked=True
)
TICKET = Entity(
    "ticket",
    "ticket_id",
    {"ticket_events": "ticket_id", "interactions": "thread_id", "survey_answers": "ticket_id"},
)
QUEUE = Entity("queue", "queue_id", {"ticket_events": "assignment_group"})

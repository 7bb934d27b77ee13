"""Entities: what a feature is about."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Entity:
    """What a feature is about.

    Attributes
    ----------
    name, key
        ``customer`` and the column ``customer_id``.
    columns
        Fact = the column that names the entity in the words of the source; empty where it names none.
    linked
        Whether identity links say which one it is; else the id with the prefix of its id space is the entity.
    elsewhere
        The column in every other fact, a company's own among them.
    """

    name: str
    key: str
    columns: Mapping[str, str]
    linked: bool = False
    elsewhere: str = ""

    def column_in(self, fact: str) -> str:
        """Return the column of a fact that names the entity; empty where there is none."""
        return self.columns.get(fact, self.elsewhere)


CUSTOMER = Entity("customer", "customer_id", {"identity_links": ""}, linked=True, elsewhere="source_id")
TICKET = Entity(
    "ticket",
    "ticket_id",
    {"ticket_events": "ticket_id", "interactions": "thread_id", "survey_answers": "ticket_id"},
)
QUEUE = Entity("queue", "queue_id", {"ticket_events": "assignment_group"})

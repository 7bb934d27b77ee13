"""The contracts of the facts: everything else about a fact is derived from its contract.

A fact is an immutable row in silver. The Great Expectations suite (``suites.py``), the parser (``gate.py``) and the
lake's schema follow from what stands here; a rule that is not here rejects nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Type = Literal["text", "integer", "decimal", "boolean", "time"]


@dataclass(frozen=True)
class Column:
    """A column of a fact.

    Attributes
    ----------
    name, type
        ``decimal`` is a double, ``time`` an aware UTC timestamp in microseconds.
    meaning
        One line for the catalogue.
    required
        Whether a row without a value is rejected.
    allowed
        The only words that may stand here; empty for any.
    least, most
        Bounds, both included.
    pattern
        Regular expression that a text must match from its start to its end.
    masked
        Whether e-mail addresses, telephone and card numbers in the text are masked before silver.
    hindsight
        Whether it is known only after the end: good for labels, never an input.
    """

    name: str
    type: Type
    meaning: str
    required: bool = False
    allowed: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    pattern: str = ""
    masked: bool = False
    hindsight: bool = False


@dataclass(frozen=True)
class Rule:
    """A rule between columns of a row.

    Attributes
    ----------
    name
        Name of the rule, which is also the reason in quarantine.
    kind
        ``not_after``: the first column is not later than the second. ``not_negative``: the first column is not
        negative in rows whose second column is one of ``words``. ``given_when``: the first column has a value in those
        rows.
    columns, words
        What the kind needs.
    """

    name: str
    kind: Literal["not_after", "not_negative", "given_when"]
    columns: tuple[str, str]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contract:
    """What a fact is: its own columns, beside those that every fact has, and the rules between them."""

    fact: str
    meaning: str
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...] = ()
    anonymous: bool = False

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """Every column that a source may state, the common ones first."""
        about = Column("source_id", "text", "who it is about, in the words of the source", required=not self.anonymous)
        return (*COMMON[:1], about, *COMMON[1:], *self.columns)

    @property
    def all_rules(self) -> tuple[Rule, ...]:
        """Every rule between columns, those of all facts first."""
        return (NOT_AHEAD, *self.rules)


COMMON = (
    Column("event_id", "text", "id of the record, unique within the source", required=True),
    Column("event_time", "time", "when it happened", required=True),
    Column("revision", "integer", "the source's own revision number, where it has one", least=0),
    Column("retracted", "boolean", "whether this revision says that the record is gone"),
)
NOT_AHEAD = Rule("event_time_in_the_future", "not_after", ("event_time", "ingested_at"))

PURPOSES = ("service", "personalisation", "marketing", "research")
"""What data may be used for: the words of ``consents``, and of every feature group."""

LINKS = ("linked", "unlinked")
CHANNELS = ("chat", "email", "call", "social", "review", "web", "app", "shop")
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
INTERACTIONS = Contract(
    "interactions",
    "one message, call turn, mail, post or review",
    (
        Column("channel", "text", "channel", required=True, allowed=CHANNELS),
        Column("thread_id", "text", "conversation; the ticket's id where there is one", required=True),
        Column("author_role", "text", "who wrote it", required=True, allowed=("customer", "agent", "bot")),
        Column("visibility", "text", "who may read it", required=True, allowed=("public", "private")),
        Column("text", "text", "what was said", masked=True),
        Column("action", "text", "what the agent or bot did in this turn, where known"),
    ),
)
TICKET_EVENTS = Contract(
    "ticket_events",
    "a step in the life of a ticket",
    (
        Column("ticket_id", "text", "ticket", required=True),
        Column(
            "kind",
            "text",
            "what happened",
            required=True,
            allowed=("opened", "assigned", "escalated", "reopened", "resolved", "closed", "updated"),
        ),
        Column("priority", "integer", "1 is the most urgent", least=1, most=5),
        Column("category", "text", "category as at the event"),
        Column("assignment_group", "text", "team that holds it"),
        Column("channel", "text", "how it came in", allowed=(*CHANNELS, "self_service", "direct", "ivr")),
        Column("sla_met", "boolean", "whether the service level was kept; known at the closing only", hindsight=True),
    ),
    anonymous=True,
)
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
SURVEY_ANSWERS = Contract(
    "survey_answers",
    "an answer to a survey or poll",
    (
        Column("survey", "text", "kind of survey", required=True, allowed=("csat", "nps", "ces", "poll")),
        Column("score", "decimal", "answer on the survey's own scale", required=True, least=0, most=100),
        Column("weight", "decimal", "weight of the answer in its sample; 1 where none", least=1e-6, most=1e6),
        Column("channel", "text", "how it was asked", allowed=CHANNELS),
        Column("ticket_id", "text", "ticket that it asks about"),
        Column("verbatim", "text", "what was added in words", masked=True),
    ),
    anonymous=True,
)
CONSENTS = Contract(
    "consents",
    "a purpose granted or withdrawn",
    (
        Column("purpose", "text", "what the data may be used for", required=True, allowed=PURPOSES),
        Column("kind", "text", "what was said", required=True, allowed=("granted", "withdrawn")),
    ),
)
DECISIONS = Contract(
    "decisions",
    "what a policy decided for a customer",
    (
        Column("decision_id", "text", "decision", required=True),
        Column("policy", "text", "policy that decided", required=True),
        Column("candidates", "text", "actions it could choose from, joined by a bar", required=True),
        Column("choice", "text", "action chosen", required=True),
        Column(
            "propensity", "decimal", "probability of the choice under the policy", required=True, least=1e-6, most=1.0
        ),
    ),
)
OUTCOMES = Contract(
    "outcomes",
    "what came of a decision",
    (
        Column("decision_id", "text", "decision", required=True),
        Column("kind", "text", "what was measured", required=True, allowed=("reward", "rating", "annotation")),
        Column("value", "decimal", "how much of it", required=True, least=-1e9, most=1e9),
    ),
)

CONTRACTS: Mapping[str, Contract] = MappingProxyType(
    {
        contract.fact: contract
        for contract in (
            CUSTOMERS,
            IDENTITY_LINKS,
            INTERACTIONS,
            TICKET_EVENTS,
            TRANSACTIONS,
            BEHAVIOURS,
            SURVEY_ANSWERS,
            CONSENTS,
            DECISIONS,
            OUTCOMES,
        )
    }
)

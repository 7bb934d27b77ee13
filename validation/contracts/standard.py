"""The contracts of the facts that Rapport brings."""

from collections.abc import Mapping
from types import MappingProxyType

from validation.contracts.behaviours import BEHAVIOURS
from validation.contracts.consents import CONSENTS
from validation.contracts.customers import CUSTOMERS, IDENTITY_LINKS
from validation.contracts.decisions import DECISIONS, OUTCOMES
from validation.contracts.interactions import INTERACTIONS
from validation.contracts.language import Contract
from validation.contracts.surveys import SURVEY_ANSWERS
from validation.contracts.tickets import TICKET_EVENTS
from validation.contracts.transactions import TRANSACTIONS

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

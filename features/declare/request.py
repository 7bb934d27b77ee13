"""Features of the request itself: what the caller gives is no fact yet."""

from dataclasses import dataclass, field
from functools import cached_property

from features.declare.checks import readable_columns, refuse_duplicates, refuse_unknown_columns, refuse_unknown_purpose
from features.declare.expression_types import ExpressionType, column_types
from features.declare.feature import Derived, Feature, derived_features, in_dependency_order
from features.declare.group import Pii
from features.declare.terms import Col, Term
from features.declare.version import as_data, version_hash
from features.declare.vocabulary import Contracts, vocabulary
from validation.contracts.language import Contract


@dataclass(frozen=True, eq=False)
class Request:
    """Features of the request itself: the message just typed is no fact yet, so the caller gives it.

    In training the same expressions read the logged request, a row of ``fact``, which later is a fact like any other.

    Attributes
    ----------
    name, description, owner, purpose, pii
        As for a group.
    fact, inputs
        The fact that logs the request, and its columns that the caller gives.
    derived
        The features, expressions over the inputs.
    where
        Rows of the fact that were requests.
    contracts
        Those it was declared by; no part of the definition.
    """

    name: str
    description: str
    owner: str
    purpose: str
    fact: str
    inputs: tuple[str, ...]
    derived: tuple[Derived, ...]
    where: Term | None = None
    pii: Pii = "personal"
    contracts: Contracts = field(default_factory=vocabulary, repr=False)

    def __post_init__(self) -> None:
        where = f"request {self.name}"
        refuse_unknown_purpose(where, self.purpose)
        typed = readable_columns(where, self.contracts, self.fact)
        refuse_unknown_columns(
            where, [*(Col(name) for name in self.inputs), self.where], typed, self.contract.hindsight
        )
        given: dict[str, ExpressionType] = {name: typed[name] for name in self.inputs}
        refuse_duplicates(where, [*self.inputs, *(d.name for d in self.derived)])
        derived_features(in_dependency_order(where, self.derived), self.derived, given)

    @property
    def contract(self) -> Contract:
        """The contract of the fact that logs it."""
        return self.contracts[self.fact]

    @cached_property
    def ordered(self) -> tuple[Derived, ...]:
        """The features, those that others need first."""
        return in_dependency_order(f"request {self.name}", self.derived)

    @cached_property
    def outputs(self) -> tuple[Feature, ...]:
        """Every feature, in order."""
        typed = column_types(self.contract)
        return derived_features(self.ordered, self.derived, {name: typed[name] for name in self.inputs})

    @cached_property
    def version(self) -> str:
        """Hash of everything that changes values, 8 hex digits."""
        return version_hash(as_data((self.inputs, self.derived)))

    @property
    def view(self) -> str:
        """Name under which the features are asked for."""
        return f"{self.name}_{self.version}"

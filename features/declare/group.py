"""Feature groups: one entity, one fact, one table. The compilers, docs and Feast objects are made of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Literal

from features.declare.checks import (
    readable_columns,
    refuse_duplicates,
    refuse_kind,
    refuse_unknown_columns,
    refuse_unknown_purpose,
)
from features.declare.entity import Entity
from features.declare.expression_types import DTYPE_OF, EXPRESSION_TYPE_OF, DType, ExpressionType, column_types, type_of
from features.declare.feature import Derived, Feature, derived_features, in_dependency_order
from features.declare.measure import BARE, DAY, LONGEST, SHORTEST, Expect, Measure
from features.declare.terms import Term, columns_in
from features.declare.version import as_data, version_hash
from features.declare.vocabulary import Contracts, vocabulary
from infra.clock import parse_duration
from rapport_feast.errors import Rejected
from validation.contracts.language import Contract

Pii = Literal["none", "pseudonymous", "personal", "sensitive"]
Served = Literal["nightly", "live"]


@dataclass(frozen=True, eq=False)
class Group:
    """A feature group: one entity, one fact, one table.

    Attributes
    ----------
    name, description, owner
        For people; they do not change values.
    purpose
        What the values may be used for: one of ``validation.contracts.words.PURPOSES``.
    pii
        How personal the values are.
    entity, fact
        What it is about and what it reads.
    measures, derived
        What is computed.
    where
        Rows of the fact that count at all.
    served
        ``live`` groups are also computed at any moment, ``<view>__live``.
    hop
        The steps in which the tail of a window above 24 hours moves (rule V3); a day holds a whole number of them.
    live_lag
        How long a fact takes to count in a live value: training takes those known by ``t - live_lag`` (rule V1).
    freshness
        How old the last published night may be before a value counts as stale.
    live_freshness
        How far the stream's log time may lie behind before a live value counts as stale.
    contracts
        Those it was declared by; no part of the definition.

    Raises
    ------
    Rejected
        The definition means nothing: an unknown column, a type that an aggregate does not take, a window that no hop
        fits, a name that stands twice.

    Examples
    --------
    >>> from features.declare import CUSTOMER, Measure, col
    >>> orders = Measure("orders", "count", ("30d",), where=col("kind") == "order", meaning="orders")
    >>> group = Group("shop", "Orders.", "commerce", "service", CUSTOMER, "transactions", (orders,))
    >>> group.outputs[0].name, group.outputs[0].dtype, group.columns
    ('customer__orders__30d', 'int64', frozenset({'kind'}))
    """

    name: str
    description: str
    owner: str
    purpose: str
    entity: Entity
    fact: str
    measures: tuple[Measure, ...]
    derived: tuple[Derived, ...] = ()
    where: Term | None = None
    served: Served = "nightly"
    hop: str = "1d"
    live_lag: str = "1s"
    freshness: timedelta = timedelta(hours=36)
    live_freshness: timedelta = timedelta(minutes=1)
    pii: Pii = "pseudonymous"
    contracts: Contracts = field(default_factory=vocabulary, repr=False)

    def __post_init__(self) -> None:
        _check(self)

    @property
    def contract(self) -> Contract:
        """The contract of its fact."""
        return self.contracts[self.fact]

    def feature_name(self, measure: Measure, window: str) -> str:
        """Return the name of a feature, ``subject__measure__window``."""
        return f"{self.entity.name}__{measure.name}__{window}"

    @cached_property
    def measured(self) -> dict[str, tuple[Measure, str]]:
        """Name of a measured feature = its measure and window, in order."""
        return {self.feature_name(m, w): (m, w) for m in self.measures for w in m.windows}

    @cached_property
    def ordered(self) -> tuple[Derived, ...]:
        """Derived features, those that others need first."""
        return in_dependency_order(f"group {self.name}", self.derived)

    @cached_property
    def outputs(self) -> tuple[Feature, ...]:
        """Every feature of the group, in order."""
        typed = column_types(self.contract)
        found = [
            Feature(name, _dtype(m, typed), f"{m.meaning}, last {w}", m.default, _expected(m, parse_duration(w)))
            for name, (m, w) in self.measured.items()
        ]
        return (
            *found,
            *derived_features(self.ordered, self.derived, {f.name: EXPRESSION_TYPE_OF[f.dtype] for f in found}),
        )

    @cached_property
    def longest(self) -> timedelta:
        """The longest window: an entity without a fact inside it has no row."""
        return max(parse_duration(window) for measure in self.measures for window in measure.windows)

    @cached_property
    def columns(self) -> frozenset[str]:
        """Columns of the fact that the group reads."""
        return frozenset(columns_in([self.where, *(m.of for m in self.measures), *(m.where for m in self.measures)]))

    @cached_property
    def version(self) -> str:
        """Hash of everything that changes values, 8 hex digits."""
        about = (self.entity.name, self.entity.key, self.entity.column_in(self.fact), self.entity.linked)
        return version_hash(as_data((about, self.fact, self.where, self.measures, self.derived, self.hop)))

    @property
    def view(self) -> str:
        """Name of the group's table and Feast view: a changed definition opens a second one beside the first."""
        return f"{self.name}_{self.version}"

    @property
    def live_view(self) -> str:
        """Name of the Feast view of a live group's values at any moment."""
        return f"{self.view}__live"

    def refs(self) -> tuple[str, ...]:
        """Return every feature as ``view:feature``."""
        return tuple(f"{self.view}:{feature.name}" for feature in self.outputs)


def _check(group: Group) -> None:
    where = f"group {group.name}"
    refuse_unknown_purpose(where, group.purpose)
    typed = readable_columns(where, group.contracts, group.fact)
    if not group.entity.column_in(group.fact):
        raise Rejected(f"{where}, fact", f"a fact that names a {group.entity.name}", group.fact)
    if not group.measures:
        raise Rejected(where, "at least one measure", "none")
    hop = parse_duration(group.hop)
    if hop > DAY or DAY % hop:
        raise Rejected(f"{where}, hop", "a length of which a day holds a whole number, such as 1h", group.hop)
    refuse_unknown_columns(where, [group.where], typed, group.contract.hindsight)
    for measure in group.measures:
        _check_measure(f"{where}, {measure.name}", group, measure, typed)
    measured = [group.feature_name(measure, window) for measure in group.measures for window in measure.windows]
    refuse_duplicates(where, [*measured, *(d.name for d in group.derived)])
    refuse_duplicates(where, [measure.name for measure in group.measures])
    _ = group.outputs


def _check_measure(where: str, group: Group, measure: Measure, typed: Mapping[str, ExpressionType]) -> None:
    refuse_unknown_columns(where, [measure.of, measure.where], typed, group.contract.hindsight)
    for condition in (measure.where, group.where):
        if condition is not None and type_of(condition, typed) != "boolean":
            raise Rejected(f"{where}, where", "a condition", type_of(condition, typed))
    if (measure.of is None) != (measure.kind in BARE):
        needed = "none" if measure.kind in BARE else "a column or expression"
        raise Rejected(f"{where}, of", f"what {measure.kind} needs: {needed}", "none" if measure.of is None else "one")
    if not measure.windows:
        raise Rejected(f"{where}, windows", "at least one window, such as 30d", "a measure without a time")
    if measure.of is not None:
        refuse_kind(where, measure, type_of(measure.of, typed))
    for window in measure.windows:
        _refuse_window(where, group, measure, parse_duration(window))
    if bool(measure.half_life) != (measure.kind == "decayed") or (
        measure.half_life and parse_duration(measure.half_life) % parse_duration(group.hop)
    ):
        raise Rejected(f"{where}, half_life", "whole hops for decayed, none for other kinds", repr(measure.half_life))


def _refuse_window(where: str, group: Group, measure: Measure, window: timedelta) -> None:
    """Refuse a window that no hop fits, above all one whose tail could not move in hops (rule V3)."""
    if not SHORTEST <= window <= LONGEST:
        raise Rejected(f"{where}, windows", "5m to 365d", str(window))
    if window > DAY and (window % parse_duration(group.hop) or window % DAY):
        raise Rejected(f"{where}, windows", "a window up to 24h, or of whole days", str(window))
    if measure.kind == "decayed" and window <= DAY:
        raise Rejected(f"{where}, windows", "more than 24h, because decay weighs hops", str(window))


def _dtype(measure: Measure, typed: Mapping[str, ExpressionType]) -> DType:
    """Return the type of a measured feature's value."""
    if measure.kind in {"mean", "rate", "share", "slope", "decayed"} or measure.scale != 1:
        return "float64"
    if measure.kind in {"first", "last"} and measure.of is not None:
        return DTYPE_OF[type_of(measure.of, typed)]
    return "int64"


def _expected(measure: Measure, window: timedelta) -> Expect:
    """Return what is expected of a feature, where nothing is declared: what its kind cannot help being."""
    if measure.expect is not None:
        return measure.expect
    if measure.kind == "share":
        return Expect(least=0, most=1)
    if measure.kind in {"since", "age"}:
        hop = timedelta(0) if window <= DAY else DAY
        return Expect(least=0, most=(window + hop).total_seconds())
    return Expect(least=0) if measure.kind in {"count", "rate", "distinct"} else Expect()

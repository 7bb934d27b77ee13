"""The language in which a feature is declared once: data, no code, and no import of anything heavy.

A feature group says what it is about (an entity), what it reads (a fact), which rows count, and what is measured over
which windows. ``compile.py`` turns it into queries; docs, Feast objects and checks are derived from it as well.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal

from infra.company import duration
from infra.errors import Rejected

Kind = Literal["count", "sum", "mean", "min", "max", "last", "distinct", "since"]
DType = Literal["int64", "float64", "string"]
Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "and", "or", "not", "length", "matches"]
DAY = timedelta(days=1)
INTEGER_KINDS: frozenset[Kind] = frozenset({"count", "sum", "min", "max", "distinct", "since"})


@dataclass(frozen=True)
class Expression:
    """A row-level expression: an operator over columns, constants and other expressions.

    Built with ``col("kind") == "order"`` and friends; ``compile.py`` is the only reader.
    """

    operator: Operator
    operands: tuple["Operand", ...]

    def __and__(self, other: "Expression") -> "Expression":
        return Expression("and", (self, other))

    def __or__(self, other: "Expression") -> "Expression":
        return Expression("or", (self, other))

    def __invert__(self) -> "Expression":
        return Expression("not", (self,))


@dataclass(frozen=True, eq=False)
class Col:
    """A column of the fact; compared with a value it makes an expression."""

    name: str

    def __eq__(self, other: object) -> Expression:  # type: ignore[override]
        return Expression("==", (self, _constant(other)))

    def __ne__(self, other: object) -> Expression:  # type: ignore[override]
        return Expression("!=", (self, _constant(other)))

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: float) -> Expression:
        return Expression("<", (self, other))

    def __le__(self, other: float) -> Expression:
        return Expression("<=", (self, other))

    def __gt__(self, other: float) -> Expression:
        return Expression(">", (self, other))

    def __ge__(self, other: float) -> Expression:
        return Expression(">=", (self, other))

    def isin(self, *words: str) -> Expression:
        """Whether the column holds one of some words."""
        return Expression("in", (self, *words))

    def matches(self, pattern: str) -> Expression:
        """Whether a regular expression is found in the lower-cased text; without a text, it is not."""
        return Expression("matches", (self, pattern))

    def length(self) -> Expression:
        """Return the number of characters of a text."""
        return Expression("length", (self,))


Operand = Expression | Col | str | int | float | bool


def col(name: str) -> Col:
    """Name a column of the group's fact."""
    return Col(name)


def _constant(value: object) -> str | int | float | bool:
    if not isinstance(value, str | int | float | bool):
        raise Rejected("expression", "a text, number or truth value to compare with", repr(value))
    return value


@dataclass(frozen=True)
class Entity:
    """What a feature is about.

    Attributes
    ----------
    name, key
        ``customer`` and the column ``customer_id``.
    """

    name: str
    key: str


CUSTOMER = Entity("customer", "customer_id")
TICKET = Entity("ticket", "ticket_id")


@dataclass(frozen=True)
class Measure:
    """One aggregate over one or more windows; each window gives one feature.

    Attributes
    ----------
    name
        The middle of the feature's name: ``spend`` in ``customer__spend__30d``.
    kind
        ``since`` is the time from the last row to t, in seconds; ``last`` breaks ties by event id.
    windows
        Lengths such as ``24h`` or ``90d``.
    of
        Column or row-level expression that is measured; none for ``count`` and ``since``.
    where
        Rows that count; all rows of the group where there is none.
    meaning
        One line for the catalogue.
    """

    name: str
    kind: Kind
    windows: tuple[str, ...]
    of: Col | Expression | None = None
    where: Expression | None = None
    meaning: str = ""
    text: bool = False

    @property
    def dtype(self) -> DType:
        """Type of the value."""
        if self.kind == "mean":
            return "float64"
        return "string" if self.text else "int64"


@dataclass(frozen=True)
class Ratio:
    """A derived feature: one feature divided by another of the same group; none where the divisor is 0 or empty."""

    name: str
    over: str
    under: str
    meaning: str = ""


@dataclass(frozen=True)
class Feature:
    """One column of a group: what a lookup asks for."""

    name: str
    dtype: DType
    meaning: str


@dataclass(frozen=True)
class Group:
    """A feature group: one entity, one fact, one table.

    Attributes
    ----------
    name, description, owner, purpose
        For people; they do not change values.
    entity, fact
        What it is about and what it reads.
    measures, derived
        What is computed.
    where
        Rows of the fact that count at all.
    freshness
        How old the last published night may be before a value counts as stale.
    """

    name: str
    description: str
    owner: str
    purpose: str
    entity: Entity
    fact: str
    measures: tuple[Measure, ...]
    derived: tuple[Ratio, ...] = ()
    where: Expression | None = None
    freshness: timedelta = timedelta(hours=36)

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.outputs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise Rejected(f"group {self.name}", "every feature name once", twice[0])
        known = {self.feature_name(m, w) for m in self.measures for w in m.windows}
        for ratio in self.derived:
            for part in (ratio.over, ratio.under):
                if part not in known:
                    raise Rejected(f"group {self.name}, {ratio.name}", "a measured feature of the group", part)
        for measure in self.measures:
            if (measure.of is None) != (measure.kind in {"count", "since"}):
                raise Rejected(
                    f"group {self.name}, {measure.name}",
                    f"what {measure.kind} needs: a column, or none for count and since",
                )
            for window in measure.windows:
                refuse_partial_days(self.name, measure, duration(window))

    def feature_name(self, measure: Measure, window: str) -> str:
        """Return the name of a feature, ``subject__measure__window``."""
        return f"{self.entity.name}__{measure.name}__{window}"

    @cached_property
    def outputs(self) -> tuple[Feature, ...]:
        """Every feature of the group, in order."""
        measured = tuple(
            Feature(self.feature_name(m, w), m.dtype, f"{m.meaning}, last {w}")
            for m in self.measures
            for w in m.windows
        )
        return measured + tuple(Feature(r.name, "float64", r.meaning) for r in self.derived)

    @cached_property
    def longest(self) -> timedelta:
        """The longest window: an entity without a fact inside it has no row."""
        return max(duration(window) for measure in self.measures for window in measure.windows)

    @cached_property
    def columns(self) -> frozenset[str]:
        """Columns of the fact that the group reads."""
        return frozenset(_columns([self.where, *(m.of for m in self.measures), *(m.where for m in self.measures)]))

    @cached_property
    def version(self) -> str:
        """Hash of everything that changes values, 8 hex digits."""
        stated = [_plain(part) for part in (self.entity, self.fact, self.where, self.measures, self.derived)]
        return hashlib.sha256(json.dumps([SEMANTICS, stated], sort_keys=True).encode()).hexdigest()[:8]

    @property
    def view(self) -> str:
        """Name of the group's table and Feast view: a changed definition opens a second one beside the first."""
        return f"{self.name}_{self.version}"

    def refs(self) -> tuple[str, ...]:
        """Return every feature as ``view:feature``."""
        return tuple(f"{self.view}:{feature.name}" for feature in self.outputs)


# Part of every version: raised when the compiler comes to mean something else by the same words.
SEMANTICS = 1
# Documentation in a measure, which changes no value.
PROSE = frozenset({"meaning"})


def refuse_partial_days(group: str, measure: Measure, window: timedelta) -> None:
    """Refuse a window above a day that is no whole number of days: its tail could not move in day hops (rule V3).

    Raises
    ------
    Rejected
        The window is longer than 24 hours and not whole days.
    """
    if window > DAY and window % DAY:
        raise Rejected(f"group {group}, {measure.name}", "a window up to 24h, or of whole days", str(window))


def _columns(parts: Iterable[object]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Col):
            yield part.name
        elif isinstance(part, Expression):
            yield from _columns(part.operands)


def _plain(value: Any) -> Any:
    """Return a definition as JSON-able values, without its prose."""
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.name not in PROSE}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value

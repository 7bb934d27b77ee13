"""The language in which a feature is declared once: data, no code, and no import of anything heavy.

A feature group says what it is about (an entity), what it reads (a fact), which rows count, and what is measured over
which windows. ``compile.py`` and ``live.py`` turn it into queries; docs, Feast objects, suites and the JSON Schema of
lookups are derived from it as well. What cannot mean anything is refused here, when the catalogue loads.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import timedelta
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Any, Literal

from infra.company import duration
from infra.errors import Rejected
from validation.contracts import CONTRACTS, PURPOSES, Contract

Kind = Literal[
    "count",
    "rate",
    "share",
    "sum",
    "mean",
    "min",
    "max",
    "first",
    "last",
    "distinct",
    "since",
    "age",
    "slope",
    "decayed",
]
DType = Literal["int64", "float64", "string"]
Pii = Literal["none", "pseudonymous", "personal", "sensitive"]
Served = Literal["nightly", "live"]
Operator = Literal[
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "in",
    "and",
    "or",
    "not",
    "null",
    "+",
    "-",
    "*",
    "/",
    "when",
    "coalesce",
    "length",
    "words",
    "matches",
    "hour",
    "weekday",
]
Value = str | int | float
# What an expression gives: the types of the columns of a fact and of features.
ExpressionType = Literal["text", "integer", "decimal", "boolean", "time"]

DAY = timedelta(days=1)
LONGEST = timedelta(days=365)
SHORTEST = timedelta(minutes=5)
# A kind that takes no column, and those that need a number or a condition.
BARE: frozenset[Kind] = frozenset({"count", "rate", "since", "age"})
NUMERIC: frozenset[Kind] = frozenset({"sum", "mean", "min", "max", "slope", "decayed"})
EMPTY: Mapping[Kind, int | float] = MappingProxyType({"count": 0, "sum": 0, "distinct": 0, "rate": 0.0})


class Term:
    """Something with a value in every row: a column, or an expression over columns and constants."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> "Expression":  # type: ignore[override]
        return Expression("==", (self, _operand(other)))

    def __ne__(self, other: object) -> "Expression":  # type: ignore[override]
        return Expression("!=", (self, _operand(other)))

    def __lt__(self, other: object) -> "Expression":
        return Expression("<", (self, _operand(other)))

    def __le__(self, other: object) -> "Expression":
        return Expression("<=", (self, _operand(other)))

    def __gt__(self, other: object) -> "Expression":
        return Expression(">", (self, _operand(other)))

    def __ge__(self, other: object) -> "Expression":
        return Expression(">=", (self, _operand(other)))

    def __add__(self, other: object) -> "Expression":
        return Expression("+", (self, _operand(other)))

    def __sub__(self, other: object) -> "Expression":
        return Expression("-", (self, _operand(other)))

    def __mul__(self, other: object) -> "Expression":
        return Expression("*", (self, _operand(other)))

    def __truediv__(self, other: object) -> "Expression":
        return Expression("/", (self, _operand(other)))

    def __and__(self, other: "Term") -> "Expression":
        return Expression("and", (self, other))

    def __or__(self, other: "Term") -> "Expression":
        return Expression("or", (self, other))

    def __invert__(self) -> "Expression":
        return Expression("not", (self,))

    def isin(self, *words: str) -> "Expression":
        """Whether the text is one of some words."""
        return Expression("in", (self, *words))

    def isnull(self) -> "Expression":
        """Whether there is no value."""
        return Expression("null", (self,))

    def matches(self, pattern: str) -> "Expression":
        """Whether a regular expression is found in the lower-cased text; without a text, it is not."""
        return Expression("matches", (self, pattern))

    def length(self) -> "Expression":
        """Return the number of characters of a text."""
        return Expression("length", (self,))

    def words(self) -> "Expression":
        """Return the number of words of a text: runs of characters between single spaces."""
        return Expression("words", (self,))

    def hour(self) -> "Expression":
        """Return the hour of a time in UTC, 0 to 23."""
        return Expression("hour", (self,))

    def weekday(self) -> "Expression":
        """Return the day of the week of a time in UTC, 0 for Monday to 6."""
        return Expression("weekday", (self,))


@dataclass(frozen=True, eq=False)
class Expression(Term):
    """An operator over columns, constants and other expressions.

    Built with ``col("kind") == "order"`` and friends. Where an operand has no value the result has none either, except
    that ``and``, ``or`` and ``when`` take such a condition as false and a division by zero has no value.
    """

    operator: Operator
    operands: tuple["Operand", ...]


@dataclass(frozen=True, eq=False)
class Col(Term):
    """A column of the fact, a feature of the group or an input of the request, by its name."""

    name: str


Operand = Term | Value | bool


def col(name: str) -> Col:
    """Name a column of the group's fact; in a derived feature, a feature of the group."""
    return Col(name)


def when(condition: Term, then: Operand, otherwise: Operand) -> Expression:
    """Return one value where a condition holds and another where it does not, or cannot be told."""
    return Expression("when", (condition, then, otherwise))


def coalesce(*parts: Operand) -> Expression:
    """Return the first of some values that is there."""
    return Expression("coalesce", parts)


def _operand(other: object) -> "Operand":
    if not isinstance(other, Term | str | int | float | bool):
        raise Rejected("expression", "a column, expression, text, number or truth value", repr(other))
    return other


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


@dataclass(frozen=True)
class Expect:
    """What the values of a feature are expected to be, checked on every night by its table's suite.

    Attributes
    ----------
    least, most
        Bounds, both included; none for no bound.
    filled
        Least share of rows that have a value.
    """

    least: float | None = None
    most: float | None = None
    filled: float = 0.0


@dataclass(frozen=True, eq=False)
class Measure:
    """One aggregate over one or more windows; each window gives one feature.

    Attributes
    ----------
    name
        The middle of the feature's name: ``spend`` in ``customer__spend__30d``.
    kind
        ``rate`` is rows a day; ``share`` how many of the rows meet the condition ``of``; ``since`` and ``age`` the
        seconds from the last and the first row to t; ``slope`` the least-squares trend of ``of`` a day; ``decayed`` the
        mean of ``of`` with weights that halve every ``half_life``; ``first`` and ``last`` break ties by event id.
    windows
        Lengths such as ``24h`` or ``90d``.
    of
        Column or row-level expression that is measured; none for ``count``, ``rate``, ``since`` and ``age``.
    where
        Rows that count; all rows of the group where there is none.
    meaning
        One line for the catalogue.
    scale
        Numbers that are not whole are summed as ``of * scale``, rounded half up (rule V4).
    half_life
        Of ``decayed``: a length in whole hops of the group.
    empty
        The value over no rows; by default 0 for what counts and none for the rest. It is a true value (rule V6).
    default
        The last rung of the ladder: what is served where nothing was ever computed.
    expect
        What the values should be.
    """

    name: str
    kind: Kind
    windows: tuple[str, ...]
    of: Term | None = None
    where: Term | None = None
    meaning: str = ""
    scale: int = 1
    half_life: str = ""
    empty: Value | None = None
    default: Value | None = None
    expect: Expect | None = None

    @property
    def empty_value(self) -> Value | None:
        """The value over no rows."""
        return EMPTY.get(self.kind) if self.empty is None else self.empty


@dataclass(frozen=True, eq=False)
class Derived:
    """A feature made of others of its group, or of the inputs of its request, by an expression.

    Attributes
    ----------
    name
        The feature's whole name.
    value
        Expression over ``col("<feature>")``.
    empty
        The value where the expression has none.
    """

    name: str
    value: Term
    meaning: str = ""
    empty: Value | None = None
    default: Value | None = None
    expect: Expect | None = None


def ratio(name: str, over: str, under: str, meaning: str = "", **said: Any) -> Derived:
    """Return one feature divided by another, of the same or another window; none where the divisor is 0 or empty."""
    return Derived(name, col(over) / col(under), meaning, **said)


@dataclass(frozen=True)
class Feature:
    """One column of a group: what a lookup asks for."""

    name: str
    dtype: DType
    meaning: str
    default: Value | None = None
    expect: Expect = field(default_factory=Expect)


@dataclass(frozen=True, eq=False)
class Group:
    """A feature group: one entity, one fact, one table.

    Attributes
    ----------
    name, description, owner
        For people; they do not change values.
    purpose
        What the values may be used for: one of ``validation.contracts.PURPOSES``.
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

    def __post_init__(self) -> None:
        _check(self)

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
        return _ordered(f"group {self.name}", self.derived)

    @cached_property
    def outputs(self) -> tuple[Feature, ...]:
        """Every feature of the group, in order."""
        typed = column_types(self.fact)
        found = [
            Feature(name, _dtype(self, m, typed), f"{m.meaning}, last {w}", m.default, _expected(m, duration(w)))
            for name, (m, w) in self.measured.items()
        ]
        return (*found, *derived_features(self.ordered, self.derived, {f.name: _BACK[f.dtype] for f in found}))

    @cached_property
    def longest(self) -> timedelta:
        """The longest window: an entity without a fact inside it has no row."""
        return max(duration(window) for measure in self.measures for window in measure.windows)

    @cached_property
    def columns(self) -> frozenset[str]:
        """Columns of the fact that the group reads."""
        return frozenset(columns_in([self.where, *(m.of for m in self.measures), *(m.where for m in self.measures)]))

    @cached_property
    def version(self) -> str:
        """Hash of everything that changes values, 8 hex digits."""
        about = (self.entity.name, self.entity.key, self.entity.columns[self.fact], self.entity.linked)
        return _hash(plain((about, self.fact, self.where, self.measures, self.derived, self.hop)))

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

    def __post_init__(self) -> None:
        where = f"request {self.name}"
        _refuse_purpose(where, self.purpose)
        typed = _readable(where, self.fact)
        _refuse_unknown(where, [*(Col(name) for name in self.inputs), self.where], typed)
        given: dict[str, ExpressionType] = {name: typed[name] for name in self.inputs}
        _refuse_twice(where, [*self.inputs, *(d.name for d in self.derived)])
        derived_features(_ordered(where, self.derived), self.derived, given)

    @cached_property
    def ordered(self) -> tuple[Derived, ...]:
        """The features, those that others need first."""
        return _ordered(f"request {self.name}", self.derived)

    @cached_property
    def outputs(self) -> tuple[Feature, ...]:
        """Every feature, in order."""
        typed = column_types(self.fact)
        return derived_features(self.ordered, self.derived, {name: typed[name] for name in self.inputs})

    @cached_property
    def version(self) -> str:
        """Hash of everything that changes values, 8 hex digits."""
        return _hash(plain((self.inputs, self.derived)))

    @property
    def view(self) -> str:
        """Name under which the features are asked for."""
        return f"{self.name}_{self.version}"


# Part of every version: raised when the compiler comes to mean something else by the same words.
SEMANTICS = 2
# Documentation, or what is served in place of a value: neither changes a value.
PROSE = frozenset({"meaning", "default", "expect"})
NUMBERS: frozenset[str] = frozenset({"integer", "decimal"})
_DTYPES: Mapping[ExpressionType, DType] = {"integer": "int64", "decimal": "float64", "text": "string"}
_BACK: Mapping[DType, ExpressionType] = {"int64": "integer", "float64": "decimal", "string": "text"}


def column_types(fact: str) -> dict[str, ExpressionType]:
    """Return column = type of everything that a feature may read of a fact."""
    contract: Contract = CONTRACTS[fact]
    return {column.name: column.type for column in contract.all_columns if column.name not in {"revision", "retracted"}}


def type_of(part: Operand, types: Mapping[str, ExpressionType]) -> ExpressionType:
    """Return the type of an expression over columns of some types.

    Raises
    ------
    Rejected
        An operator does not take what it is given.
    """
    if isinstance(part, Col):
        return types[part.name]
    if not isinstance(part, Expression):
        return _constant_type(part)
    given = [type_of(inner, types) for inner in part.operands]
    match part.operator:
        case "==" | "!=" | "<" | "<=" | ">" | ">=":
            _refuse_mixed(part, given)
            return "boolean"
        case "in":
            _refuse_mixed(part, given)
            return "boolean"
        case "null":
            return "boolean"
        case "and" | "or" | "not":
            _refuse_other(part, given, frozenset({"boolean"}))
            return "boolean"
        case "+" | "-" | "*":
            _refuse_other(part, given, NUMBERS)
            return "integer" if set(given) == {"integer"} else "decimal"
        case "/":
            _refuse_other(part, given, NUMBERS)
            return "decimal"
        case "when":
            _refuse_other(part, given[:1], frozenset({"boolean"}))
            return _refuse_mixed(part, given[1:])
        case "coalesce":
            return _refuse_mixed(part, given)
        case "matches":
            _refuse_other(part, given, frozenset({"text"}))
            return "boolean"
        case "length" | "words":
            _refuse_other(part, given, frozenset({"text"}))
            return "integer"
        case "hour" | "weekday":
            _refuse_other(part, given, frozenset({"time"}))
            return "integer"


def derived_features(
    ordered: Iterable[Derived], declared: Iterable[Derived], types: Mapping[str, ExpressionType]
) -> tuple[Feature, ...]:
    """Return derived features with their types, in the order of their declaration.

    Parameters
    ----------
    ordered
        Those that others need first.
    declared
        The same in the order of the outputs.
    types
        Types of what the first of them may read.
    """
    known = dict(types)
    for one in ordered:
        _refuse_unknown(f"derived feature {one.name}", [one.value], known)
        known[one.name] = type_of(one.value, known)
        if known[one.name] not in _DTYPES:
            raise Rejected(
                f"derived feature {one.name}",
                "a number or a text; when(condition, 1, 0) for a condition",
                known[one.name],
            )
    return tuple(Feature(d.name, _DTYPES[known[d.name]], d.meaning, d.default, d.expect or Expect()) for d in declared)


def refuse_clashes(groups: Iterable[Group], requests: Iterable[Request] = ()) -> None:
    """Refuse a catalogue in which two groups have one name, or two features of an entity.

    Raises
    ------
    Rejected
        A name stands twice.
    """
    declared: list[Group | Request] = [*groups, *requests]
    _refuse_twice("catalogue, groups", [one.name for one in declared])
    _refuse_twice("catalogue, features", [feature.name for one in declared for feature in one.outputs])


def _check(group: Group) -> None:
    where = f"group {group.name}"
    _refuse_purpose(where, group.purpose)
    typed = _readable(where, group.fact)
    if group.fact not in group.entity.columns:
        raise Rejected(f"{where}, fact", f"a fact that names a {group.entity.name}", group.fact)
    if not group.measures:
        raise Rejected(where, "at least one measure", "none")
    hop = duration(group.hop)
    if hop > DAY or DAY % hop:
        raise Rejected(f"{where}, hop", "a length of which a day holds a whole number, such as 1h", group.hop)
    _refuse_unknown(where, [group.where], typed)
    for measure in group.measures:
        _check_measure(f"{where}, {measure.name}", group, measure, typed)
    measured = [group.feature_name(measure, window) for measure in group.measures for window in measure.windows]
    _refuse_twice(where, [*measured, *(d.name for d in group.derived)])
    _refuse_twice(where, [measure.name for measure in group.measures])
    _ = group.outputs


def _check_measure(where: str, group: Group, measure: Measure, typed: Mapping[str, ExpressionType]) -> None:
    _refuse_unknown(where, [measure.of, measure.where], typed)
    for condition in (measure.where, group.where):
        if condition is not None and type_of(condition, typed) != "boolean":
            raise Rejected(f"{where}, where", "a condition", type_of(condition, typed))
    if (measure.of is None) != (measure.kind in BARE):
        needed = "none" if measure.kind in BARE else "a column or expression"
        raise Rejected(f"{where}, of", f"what {measure.kind} needs: {needed}", "none" if measure.of is None else "one")
    if not measure.windows:
        raise Rejected(f"{where}, windows", "at least one window, such as 30d", "a measure without a time")
    if measure.of is not None:
        _refuse_kind(where, measure, type_of(measure.of, typed))
    for window in measure.windows:
        _refuse_window(where, group, measure, duration(window))
    if bool(measure.half_life) != (measure.kind == "decayed") or (
        measure.half_life and duration(measure.half_life) % duration(group.hop)
    ):
        raise Rejected(f"{where}, half_life", "whole hops for decayed, none for other kinds", repr(measure.half_life))


def _refuse_kind(where: str, measure: Measure, given: ExpressionType) -> None:
    """Refuse what an aggregate cannot take: it adds whole numbers only (rule V4)."""
    if measure.kind == "share" and given != "boolean":
        raise Rejected(f"{where}, of", "a condition", given)
    if measure.kind in NUMERIC and given not in NUMBERS:
        raise Rejected(f"{where}, of", "a number", given)
    if measure.kind in NUMERIC and given == "decimal" and measure.scale == 1:
        raise Rejected(f"{where}, scale", "a scale above 1, because sums are whole numbers", "none")
    if measure.scale < 1 or (measure.kind not in NUMERIC and measure.scale != 1):
        raise Rejected(f"{where}, scale", "1, or more for a kind that adds or compares numbers", str(measure.scale))
    if measure.kind in {"first", "last"} and given not in {"integer", "text"}:
        raise Rejected(f"{where}, of", "a text or a whole number", given)


def _refuse_window(where: str, group: Group, measure: Measure, window: timedelta) -> None:
    """Refuse a window that no hop fits, above all one whose tail could not move in hops (rule V3)."""
    if not SHORTEST <= window <= LONGEST:
        raise Rejected(f"{where}, windows", "5m to 365d", str(window))
    if window > DAY and (window % duration(group.hop) or window % DAY):
        raise Rejected(f"{where}, windows", "a window up to 24h, or of whole days", str(window))
    if measure.kind == "decayed" and window <= DAY:
        raise Rejected(f"{where}, windows", "more than 24h, because decay weighs hops", str(window))


def _readable(where: str, fact: str) -> dict[str, ExpressionType]:
    if fact not in CONTRACTS:
        raise Rejected(f"{where}, fact", f"one of {', '.join(CONTRACTS)}", fact)
    return column_types(fact)


def _refuse_unknown(where: str, parts: Iterable[object], typed: Mapping[str, ExpressionType]) -> None:
    hindsight = {column.name for contract in CONTRACTS.values() for column in contract.columns if column.hindsight}
    for name in columns_in(parts):
        if name not in typed:
            raise Rejected(f"{where}, column", f"one of {', '.join(sorted(typed))}", name)
        if name in hindsight:
            raise Rejected(
                f"{where}, column",
                "no column of a label",
                name,
                "It is known only after the end, so it can be no input.",
            )


def _refuse_purpose(where: str, purpose: str) -> None:
    if purpose not in PURPOSES:
        raise Rejected(f"{where}, purpose", f"one of {', '.join(PURPOSES)}", purpose)


def _refuse_twice(where: str, names: list[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Rejected(where, "every name once", twice[0])


def _ordered(where: str, derived: tuple[Derived, ...]) -> tuple[Derived, ...]:
    named = {one.name: one for one in derived}
    needs = {one.name: [name for name in columns_in([one.value]) if name in named] for one in derived}
    try:
        return tuple(named[name] for name in TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise Rejected(where, "derived features without a cycle", " -> ".join(error.args[1])) from None


def _refuse_mixed(part: Expression, given: list[ExpressionType]) -> ExpressionType:
    kinds = {"decimal" if one in NUMBERS else one for one in given}
    if len(kinds) > 1:
        raise Rejected(f"expression {part.operator}", "values of one type", ", ".join(given))
    return "decimal" if "decimal" in given else given[0]


def _refuse_other(part: Expression, given: list[ExpressionType], allowed: frozenset[str]) -> None:
    if other := [one for one in given if one not in allowed]:
        raise Rejected(f"expression {part.operator}", " or ".join(sorted(allowed)), other[0])


def _constant_type(value: Value | bool | Term) -> ExpressionType:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "text"
    return "integer" if isinstance(value, int) else "decimal"


def _dtype(group: Group, measure: Measure, typed: Mapping[str, ExpressionType]) -> DType:
    """Return the type of a measured feature's value."""
    if measure.kind in {"mean", "rate", "share", "slope", "decayed"} or measure.scale != 1:
        return "float64"
    if measure.kind in {"first", "last"} and measure.of is not None:
        return _DTYPES[type_of(measure.of, typed)]
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


def columns_in(parts: Iterable[object]) -> Iterator[str]:
    """Yield the names that some expressions read."""
    for part in parts:
        if isinstance(part, Col):
            yield part.name
        elif isinstance(part, Expression):
            yield from columns_in(part.operands)


def _hash(said: Any) -> str:
    return hashlib.sha256(json.dumps([SEMANTICS, said], sort_keys=True).encode()).hexdigest()[:8]


def plain(value: Any) -> Any:
    """Return a definition as JSON-able values, without its prose."""
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.name not in PROSE}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value

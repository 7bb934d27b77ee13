"""Features: the columns of a group, and those derived from others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from features.declare.checks import refuse_unknown_columns
from features.declare.expression_types import DTYPE_OF, DType, ExpressionType, type_of
from features.declare.measure import Expect
from features.declare.terms import Term, Value, col, columns_in
from rapport_feast.errors import Rejected


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


def ratio(name: str, over: str, under: str, meaning: str = "", **options: Any) -> Derived:
    """Return one feature divided by another, of the same or another window; none where the divisor is 0 or empty.

    Parameters
    ----------
    over, under
        Names of the features.
    options
        ``empty``, ``default`` and ``expect`` of ``Derived``.
    """
    return Derived(name, col(over) / col(under), meaning, **options)


@dataclass(frozen=True)
class Feature:
    """One column of a group: what a lookup asks for."""

    name: str
    dtype: DType
    meaning: str
    default: Value | None = None
    expect: Expect = field(default_factory=Expect)


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
        refuse_unknown_columns(f"derived feature {one.name}", [one.value], known)
        known[one.name] = type_of(one.value, known)
        if known[one.name] not in DTYPE_OF:
            raise Rejected(
                f"derived feature {one.name}",
                "a number or a text; when(condition, 1, 0) for a condition",
                known[one.name],
            )
    return tuple(Feature(d.name, DTYPE_OF[known[d.name]], d.meaning, d.default, d.expect or Expect()) for d in declared)


def in_dependency_order(where: str, derived: tuple[Derived, ...]) -> tuple[Derived, ...]:
    """Return derived features, those that others need first.

    Parameters
    ----------
    where
        What an error names: the group or request.

    Raises
    ------
    Rejected
        They need each other.
    """
    named = {one.name: one for one in derived}
    needs = {one.name: [name for name in columns_in([one.value]) if name in named] for one in derived}
    try:
        return tuple(named[name] for name in TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise Rejected(where, "derived features without a cycle", " -> ".join(error.args[1])) from None

"""Expressions as Ibis: the same on every engine."""

import operator as op
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import ibis
from ibis.expr.types import BooleanValue, Table, Value

from features.declare.feature import Feature
from features.declare.group import Group
from features.declare.request import Request
from features.declare.terms import Col, Expression, Operand

COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {"==": op.eq, "!=": op.ne, "<": op.lt, "<=": op.le, ">": op.gt, ">=": op.ge}
)
ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType({"+": op.add, "-": op.sub, "*": op.mul})


def typed_literal(value: Operand, feature: Feature) -> Value:
    return ibis.literal(value).cast(feature.dtype)


def derive(group: Group | Request, found: Mapping[str, Value]) -> dict[str, Value]:
    """Return the derived features of a group from the finished values of the others, those that others need first."""
    values = dict(found)
    typed = {feature.name: feature for feature in group.outputs}
    for one in group.ordered:
        value = operand(values, one.value).cast(typed[one.name].dtype)
        values[one.name] = (
            value if one.empty is None else ibis.coalesce(value, typed_literal(one.empty, typed[one.name]))
        )
    return {one.name: values[one.name] for one in group.derived}


def condition(rows: "Table | Mapping[str, Value]", expression: Operand | None) -> BooleanValue:
    """Return a condition; where it cannot be told, it does not hold."""
    return operand(rows, expression).fill_null(False)


def operand(rows: "Table | Mapping[str, Value]", part: Operand | None) -> Value:
    """Return a column, a constant or an expression over them as Ibis."""
    if isinstance(part, Col):
        return rows[part.name]
    if isinstance(part, Expression):
        return _operation(part, [operand(rows, inner) for inner in part.operands])
    return constant(part) if isinstance(part, float) else ibis.literal(part)


def constant(value: float) -> Value:
    """Return a double; through its text, because engines read 0.1 as a decimal number and calculate with that."""
    return ibis.literal(repr(value)).cast("float64")


def _operation(expression: Expression, given: list[Value]) -> Value:
    first, *rest = given
    match expression.operator:
        case "in":
            return _told(first.isin(rest))
        case "null":
            return _told(first.isnull())
        case "and":
            return _told(first.fill_null(False) & rest[0].fill_null(False))
        case "or":
            return _told(first.fill_null(False) | rest[0].fill_null(False))
        case "not":
            return _told(~first.fill_null(False))
        case "when":
            return ibis.ifelse(first.fill_null(False), *rest)
        case "coalesce":
            return ibis.coalesce(*given)
        case "/":
            return first.cast("float64") / rest[0].cast("float64").nullif(0.0)
        case "length":
            return first.length().cast("int64")
        case "words":
            return first.split(" ").filter(lambda word: word != "").length().cast("int64")
        case "matches":
            return _told(first.lower().re_search(rest[0]))
        case "hour":
            return first.hour().cast("int64")
        case "weekday":
            return first.day_of_week.index().cast("int64")
        case "+" | "-" | "*":
            return ARITHMETIC[expression.operator](first, rest[0])
        case _:
            return _told(COMPARISONS[expression.operator](first, rest[0]))


def _told(found: BooleanValue) -> BooleanValue:
    """Return a condition as a CASE: Ibis writes NOT x IS NOT NULL and x IN (y) IS NOT NULL without brackets.

    The one then means something else, the other Spark cannot read.
    """
    return ibis.cases((found, True), (~found, False))

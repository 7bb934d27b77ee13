"""Expressions in plain Python, for the online service: the same values as in Ibis, without its libraries."""

import operator as op
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from features.declare.terms import Col, Expression, Operand, Term

RowValue = str | int | float | bool | datetime | None
BINARY_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        "==": op.eq,
        "!=": op.ne,
        "<": op.lt,
        "<=": op.le,
        ">": op.gt,
        ">=": op.ge,
        "+": op.add,
        "-": op.sub,
        "*": op.mul,
    }
)


# Engines lower letter by letter: neither the dot of a capital I nor the place of a sigma makes a difference.
LOWER_CASE = str.maketrans({"\u0130": "i", "\u03a3": "\u03c3"})


def evaluate(part: Operand | None, row: Mapping[str, RowValue]) -> RowValue:
    """Return the value of an expression over one row: three-valued, none where it has no value.

    Examples
    --------
    >>> from features.declare import col, when
    >>> evaluate(when(col("text").matches("angr"), 1, 0), {"text": "I am ANGRY"})
    1
    >>> evaluate(col("a") / col("b"), {"a": 1, "b": 0}) is None
    True
    """
    if isinstance(part, Col):
        return row[part.name]
    if isinstance(part, Expression):
        return _operation(part, [evaluate(inner, row) for inner in part.operands])
    if isinstance(part, Term):
        raise TypeError(f"a term of another kind: {part!r}")
    return part


def _operation(expression: Expression, given: Sequence[RowValue]) -> RowValue:
    first: Any
    first, *rest = given
    match expression.operator:
        case "null":
            return first is None
        case "and":
            return bool(first) and bool(rest[0])
        case "or":
            return bool(first) or bool(rest[0])
        case "not":
            return not first
        case "when":
            return rest[0] if first else rest[1]
        case "coalesce":
            return next((one for one in given if one is not None), None)
        case _:
            return None if None in given else _of_values(expression, first, rest)


def _of_values(expression: Expression, first: Any, rest: Sequence[Any]) -> RowValue:
    """Return the value of an operator all of whose operands have one."""
    match expression.operator:
        case "in":
            return first in rest
        case "/":
            over, under = float(first), float(rest[0])
            return over / under if under else None
        case "length":
            return len(first)
        case "words":
            return sum(1 for word in first.split(" ") if word)
        case "matches":
            return _pattern(rest[0]).search(lowered(first)) is not None
        case "hour":
            return int(first.hour)
        case "weekday":
            return int(first.weekday())
        case _:
            found: RowValue = BINARY_OPERATORS[expression.operator](first, rest[0])
            return found


def lowered(text: str) -> str:
    """Return a text in lower case as the engines have it."""
    return text.translate(LOWER_CASE).lower()


@lru_cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.ASCII)

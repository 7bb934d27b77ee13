"""The types of columns and expressions, and which operators take which."""

from collections.abc import Mapping
from typing import Literal

from features.declare.terms import Col, Expression, Operand, Term, Value
from rapport_feast.errors import Rejected
from validation.contracts.language import Contract

DType = Literal["int64", "float64", "string"]


# What an expression gives: the types of the columns of a fact and of features.
ExpressionType = Literal["text", "integer", "decimal", "boolean", "time"]
NUMBERS: frozenset[str] = frozenset({"integer", "decimal"})
DTYPE_OF: Mapping[ExpressionType, DType] = {"integer": "int64", "decimal": "float64", "text": "string"}
EXPRESSION_TYPE_OF: Mapping[DType, ExpressionType] = {"int64": "integer", "float64": "decimal", "string": "text"}


def column_types(contract: Contract) -> dict[str, ExpressionType]:
    """Return column = type of everything that a feature may read of a fact."""
    return {column.name: column.type for column in contract.all_columns if column.name not in {"revision", "retracted"}}


def type_of(part: Operand, types: Mapping[str, ExpressionType]) -> ExpressionType:
    """Return the type of an expression over columns of some types.

    Raises
    ------
    Rejected
        An operator does not take the types of its operands.

    Examples
    --------
    >>> from features.declare import col
    >>> type_of(col("amount") / 100, {"amount": "integer"})
    'decimal'
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

"""Terms: columns, constants and expressions over them, written like Python's own."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from rapport_feast.errors import Rejected

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
    """Name a column of the group's fact; in a derived feature, a feature of the group.

    Examples
    --------
    >>> (col("kind") == "order").operator
    '=='
    """
    return Col(name)


def when(condition: Term, then: Operand, otherwise: Operand) -> Expression:
    """Return one value where a condition holds and another where it does not, or has no value.

    Examples
    --------
    >>> when(col("text").matches("refund"), 1, 0).operands[1:]
    (1, 0)
    """
    return Expression("when", (condition, then, otherwise))


def coalesce(*parts: Operand) -> Expression:
    """Return the first of some values that is not missing."""
    return Expression("coalesce", parts)


def _operand(other: object) -> "Operand":
    if not isinstance(other, Term | str | int | float | bool):
        raise Rejected("expression", "a column, expression, text, number or truth value", repr(other))
    return other


def columns_in(parts: Iterable[object]) -> Iterator[str]:
    """Yield the names that some expressions read, as often as they read them.

    Examples
    --------
    >>> [*columns_in([(col("amount") > 0) & (col("kind") == "order")])]
    ['amount', 'kind']
    """
    for part in parts:
        if isinstance(part, Col):
            yield part.name
        elif isinstance(part, Expression):
            yield from columns_in(part.operands)

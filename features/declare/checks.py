"""What no declaration may say: refused when the catalogue loads."""

from collections.abc import Iterable, Mapping

from features.declare.expression_types import NUMBERS, ExpressionType, column_types
from features.declare.measure import NUMERIC, Measure
from features.declare.terms import columns_in
from rapport_feast.errors import Rejected
from validation.contracts.language import Contract
from validation.contracts.words import PURPOSES


def refuse_kind(where: str, measure: Measure, given: ExpressionType) -> None:
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


def readable_columns(where: str, contracts: Mapping[str, Contract], fact: str) -> dict[str, ExpressionType]:
    """Return the columns of a fact with their types; refuse an unknown fact."""
    if fact not in contracts:
        raise Rejected(f"{where}, fact", f"one of {', '.join(contracts)}", fact)
    return column_types(contracts[fact])


def refuse_unknown_columns(
    where: str,
    parts: Iterable[object],
    typed: Mapping[str, ExpressionType],
    hindsight: frozenset[str] = frozenset(),
) -> None:
    """Refuse columns that are not there, and those that say how a case ended: they are known only afterwards."""
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


def refuse_unknown_purpose(where: str, purpose: str) -> None:
    """Refuse a purpose that no consent speaks of."""
    if purpose not in PURPOSES:
        raise Rejected(f"{where}, purpose", f"one of {', '.join(PURPOSES)}", purpose)


def refuse_duplicates(where: str, names: list[str]) -> None:
    """Refuse a name that stands twice."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Rejected(where, "every name once", twice[0])

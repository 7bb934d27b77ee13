"""Which facts a feature counts: the conditions of the compilers, of single facts."""

from collections.abc import Iterable

from ibis.expr.types import BooleanValue, Table

from features.compute import expressions
from features.compute.windowing import hop_micros, hops, micros_of
from features.declare.group import Group
from features.declare.measure import Measure
from features.declare.terms import Col, Expression, Operand
from infra.clock import parse_duration

COUNTS = "counts__"


def measured_behind(group: Group, names: Iterable[str]) -> dict[str, tuple[Measure, str]]:
    """Return the measured features that some features of a group are, or are made of."""
    derived = {one.name: one for one in group.derived}
    wanted, found = list(names), set[str]()
    while wanted:
        name = wanted.pop()
        if name in derived:
            wanted += names_in(derived[name].value)
        else:
            found.add(name)
    return {name: told for name, told in group.measured.items() if name in found}


def counts(measure: Measure, rows: Table) -> BooleanValue:
    """Return whether a measure takes a fact in: its condition holds and there is something to measure."""
    found = rows.event_us.notnull()
    if measure.where is not None:
        found &= expressions.condition(rows, measure.where)
    return found if measure.of is None else found & expressions.operand(rows, measure.of).notnull()


def start(group: Group, at_us: int, window: str) -> int:
    """Return the first microsecond, not inside, of a window that ends at a moment (rule V3)."""
    length = parse_duration(window)
    begins, hop = at_us - micros_of(length), hop_micros(group)
    return begins // hop * hop if hops(length) else begins


def names_in(part: Operand) -> list[str]:
    """Return the names that an expression reads."""
    if isinstance(part, Col):
        return [part.name]
    return [name for inner in part.operands for name in names_in(inner)] if isinstance(part, Expression) else []

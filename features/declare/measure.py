"""Measures: one aggregate over one or more windows, and what its values are expected to be."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Literal

from features.declare.terms import Term, Value

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
DAY = timedelta(days=1)
LONGEST = timedelta(days=365)
SHORTEST = timedelta(minutes=5)


# A kind that takes no column, and those that need a number or a condition.
BARE: frozenset[Kind] = frozenset({"count", "rate", "since", "age"})
NUMERIC: frozenset[Kind] = frozenset({"sum", "mean", "min", "max", "slope", "decayed"})
EMPTY: Mapping[Kind, int | float] = MappingProxyType({"count": 0, "sum": 0, "distinct": 0, "rate": 0.0})


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

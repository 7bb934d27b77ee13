"""What a night's comparison found: counts by feature and day, and every difference."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from features.parity.samples import Sample

EQUAL, LATE, NOT_EXAMINED = "equal", "late", "not examined"


@dataclass
class ValueCounts:
    """How the values of one feature compare; ``late`` ones were right when they were served."""

    sampled: int = 0
    equal: int = 0
    late: int = 0
    mismatches: Counter[str] = field(default_factory=Counter)

    def count(self, cause: str) -> None:
        """Count one value: ``equal``, ``late``, or the cause of a mismatch."""
        self.sampled += 1
        self.equal += cause == EQUAL
        self.late += cause == LATE
        if cause not in {EQUAL, LATE}:
            self.mismatches[cause] += 1

    def add(self, other: "ValueCounts") -> None:
        """Add the counts of another feature, view or day."""
        self.sampled += other.sampled
        self.equal += other.equal
        self.late += other.late
        self.mismatches.update(other.mismatches)


@dataclass(frozen=True)
class Difference:
    """One value that differs.

    Attributes
    ----------
    cause
        ``late``, or one of ``features.parity.causes.CAUSES``.
    truth
        The value as known then; of a late one, as known now.
    events
        Of a late one, the ids of the events that explain it.
    """

    sample: Sample
    feature: str
    cause: str
    detail: str
    truth: Any
    events: tuple[str, ...] = ()


@dataclass
class ParityResult:
    """What a night's comparison found.

    Attributes
    ----------
    read, unreadable
        Lines of samples, and those of them that cannot be read.
    pending
        Rows that know more than the night: a later one judges them.
    retired
        Rows of views that the catalogue no longer has, or of nights that were published again since.
    judged
        Rows that were compared.
    overdue
        Live rows passed off as fresh although the stream's log time lay too far behind (rule T9).
    counts
        View and feature = how its values compare.
    days
        Day of serving = the same.
    differences
        Every late value and every mismatch.
    """

    night: date
    read: int = 0
    unreadable: int = 0
    pending: int = 0
    retired: int = 0
    judged: int = 0
    overdue: int = 0
    counts: dict[tuple[str, str], ValueCounts] = field(default_factory=dict)
    days: dict[date, ValueCounts] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    @property
    def total(self) -> ValueCounts:
        """The counts over all features."""
        total = ValueCounts()
        for counts in self.counts.values():
            total.add(counts)
        return total

    @property
    def mismatches(self) -> int:
        """Values that were wrong when they were served."""
        return self.total.mismatches.total()

    @property
    def verdict(self) -> str:
        """``equal``, ``mismatch``, ``overdue``, or ``no samples`` where nothing could be judged."""
        if self.mismatches or self.overdue:
            return "mismatch" if self.mismatches else "overdue"
        return "equal" if self.judged else "no samples"

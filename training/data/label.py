"""What a label is: what came after a moment, over ``(t, t + horizon]``, with a maturity."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from features.declare.entity import Entity
from rapport_feast.times import DAY


@dataclass(frozen=True)
class Label:
    """What is to be predicted.

    Attributes
    ----------
    name, meaning
        ``meaning`` says what 1 (or the number) stands for.
    entity, facts
        Who it is about, and what it reads; the first fact decides who belongs to the spine.
    reads
        Columns that the label is computed from.
    horizon
        Length of the window, and the label is mature when it is over; None: mature when the ticket is closed.
    active
        How far back a fact makes somebody part of the spine.
    every, samples
        The spine holds every n-th night, and at most that number of nights.
    eligible, outcome
        SQL over ``known_<fact>``; ``outcome`` joins ``spine`` and gives ``label`` and ``label_end``.
    binary
        Whether the label is 0 or 1; otherwise it is the reward of a logged decision.
    """

    name: str
    meaning: str
    entity: Entity
    facts: tuple[str, ...]
    reads: frozenset[str]
    horizon: timedelta | None
    eligible: str
    outcome: str
    active: timedelta = timedelta(days=90)
    every: int = 1
    samples: int = 90
    binary: bool = True

    def with_options(self, options: Mapping[str, Any]) -> "Label":
        """Return the label as a company file wants it: ``horizon_days``, ``active_days``, ``every``, ``samples``."""
        horizon, active = options.get("horizon_days"), options.get("active_days")
        label = replace(
            self,
            horizon=timedelta(days=horizon) if horizon and self.horizon else self.horizon,
            active=timedelta(days=active) if active else self.active,
            samples=options.get("samples", self.samples),
        )
        return replace(label, every=options.get("every", label._spacing()))

    def _spacing(self) -> int:
        """Space a spine of few nights so that it holds some on both sides of a gap as long as the horizon."""
        if self.horizon is None or self.every == 1:
            return self.every
        return max(self.every, self.horizon // (4 * DAY) // 7 * 7)

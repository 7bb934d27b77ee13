"""How far the writers are and what is usual for a segment, as last seen in the background."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rapport_feast.row.layout import Packable

ALL_SEGMENTS = "*"
MAX_SEGMENTS = 256


@dataclass(frozen=True)
class Prior:
    """What is usual for a segment: feature = value."""

    values: Mapping[str, Packable]
    event_us: int
    known_us: int


@dataclass
class WriterStatus:
    """What the background knows of the writers: how far they are, and what is usual for a segment.

    Attributes
    ----------
    applied_us
        Log time up to which everything accepted is online; None where no stream has run.
    cutoff_us
        Cutoff of the newest night that is online.
    priors
        (prior view, segment) = row.
    segments
        The segments that were met, whose priors are kept.
    unread
        Whether there is one among them whose priors were not read yet.
    """

    applied_us: int | None = None
    cutoff_us: int = 0
    priors: dict[tuple[str, str], Prior] = field(default_factory=dict)
    segments: set[str] = field(default_factory=lambda: {ALL_SEGMENTS})
    unread: bool = True

    def prior(self, view: str, segment: str) -> Prior | None:
        """Return the prior of a segment, else that of all; the priors of a new segment are read in the background."""
        if segment not in self.segments and len(self.segments) < MAX_SEGMENTS:
            self.segments.add(segment)
            self.unread = True
        return self.priors.get((view, segment)) or self.priors.get((view, ALL_SEGMENTS))

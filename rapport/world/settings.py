"""What a simulated company is like: size, length, seed, share of faulty rows, planted drift.

Comes from the ``[world]`` table of a company file; everything that the simulator writes follows from it.
"""

import hashlib
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rapport_feast.errors import Rejected

FORM = 2
"""Raised whenever the same settings give other files."""


class WorldSettings(BaseModel):
    """Settings of the simulator; the shares are per row of a source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    customers: int = Field(default=5_000, ge=20, le=999_999)
    days: int = Field(default=180, ge=2, le=3_650)
    start: date = date(2026, 5, 25)
    seed: int = Field(default=7, ge=0)
    late_share: float = Field(default=0.03, ge=0, le=0.5, description="available one to five days after the event")
    duplicate_share: float = Field(default=0.01, ge=0, le=0.5, description="delivered twice")
    revision_share: float = Field(default=0.01, ge=0, le=0.5, description="delivered again later with another payload")
    retraction_share: float = Field(
        default=0.003, ge=0, le=0.5, description="messages, answers and consents withdrawn later"
    )
    bad_share: float = Field(default=0.002, ge=0, le=0.05, description="rows that no contract accepts")
    drift_from_day: int | None = Field(default=None, ge=0, description="day, counted from 0, on which customers change")
    drift_size: float = Field(default=0.5, ge=-3, le=3, description="how much, in standard deviations")

    @property
    def last_night(self) -> date:
        """The last day of the world."""
        return self.start + timedelta(days=self.days - 1)

    @property
    def digest(self) -> str:
        """Digest of everything that the files follow from."""
        return hashlib.sha256(f"{FORM}:{self.model_dump_json()}".encode()).hexdigest()


def read_settings(table: Mapping[str, Any]) -> WorldSettings:
    """Read the ``[world]`` table of a company file.

    Raises
    ------
    Rejected
        A key is unknown, or its value is of the wrong kind or out of bounds.

    Examples
    --------
    >>> read_settings({"customers": 300, "days": 40}).last_night
    datetime.date(2026, 7, 3)
    """
    try:
        return WorldSettings.model_validate(dict(table))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(("world", *(str(part) for part in first["loc"])))
        raise Rejected(field, f"one of {', '.join(WorldSettings.model_fields)}, within bounds", first["msg"]) from None

"""What a commit of a table says about itself: the nights that it owns and what they were computed from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from infra.clock import Nights


@dataclass(frozen=True)
class Commit:
    """What a commit of a table says about itself.

    Attributes
    ----------
    nights
        The partitions that it replaced, also those that came out empty.
    inputs
        Digest of everything the rows were computed from, code version included.
    run
        The run that wrote it.
    notes
        Anything else worth keeping, as JSON-able values.
    """

    nights: Nights
    inputs: str = ""
    run: str = ""
    notes: Mapping[str, Any] | None = None

    def metadata(self) -> dict[str, str]:
        """Return the commit as Delta's commit metadata: text by text."""
        return {
            "rapport.nights": f"{self.nights.first}/{self.nights.last}",
            "rapport.inputs": self.inputs,
            "rapport.run": self.run,
            "rapport.notes": json.dumps(self.notes or {}, sort_keys=True, default=str),
        }

    @classmethod
    def from_metadata(cls, entry: Mapping[str, Any]) -> "Commit | None":
        """Read a commit from an entry of the table's history; None if it is not one of ours."""
        if "rapport.nights" not in entry:
            return None
        first, last = (date.fromisoformat(text) for text in entry["rapport.nights"].split("/"))
        return cls(
            Nights(first, last), entry["rapport.inputs"], entry["rapport.run"], json.loads(entry["rapport.notes"])
        )

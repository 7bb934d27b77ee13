"""Companies whose events stream in, for tests: a clock that is set by hand, sources of the log, events as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.workspace import Workspace, open_workspace
from tests.small_companies import ORDER, Row, workspace
from validation.contracts.standard import CONTRACTS

EVENT = {name: value for name, value in ORDER.items() if value and name != "exported_at"}
"""An order as it streams in."""


@dataclass
class HandClock:
    """A clock that somebody sets."""

    at: datetime

    def now(self) -> datetime:
        """Return the moment at which this clock was set."""
        return self.at


def streamed(fact: str = "transactions", name: str = "", **more: object) -> str:
    """Return a source of a company file that streams a fact under the names of its columns."""
    stated = {"name": name or fact, "adapter": "log", "fact": fact, "id_space": "crm", "max_rejected": 1.0, **more}
    head = "\n".join(f"{key} = {json.dumps(value)}" for key, value in stated.items())
    lines = "\n".join(f'{column.name} = "{column.name}"' for column in CONTRACTS[fact].all_columns)
    return f"[[sources]]\n{head}\n[sources.columns]\n{lines}\n"


def company(
    home: Path,
    *sources: str,
    at: datetime = datetime(2026, 5, 25, 12, tzinfo=UTC),
    name: str = "tiny",
    **settings: Any,
) -> Workspace:
    """Return a company with these sources, by default one that streams orders, and a clock that is set by hand."""
    made = workspace(home, *(sources or (streamed(),)), **settings)
    text = made.settings.company.read_text().replace('name = "tiny"', f'name = "{name}"', 1)
    made.settings.company.write_text(text)
    return open_workspace(made.settings, HandClock(at))


def at(ws: Workspace, *moment: int) -> Workspace:
    """Set the company's clock; returns the company."""
    assert isinstance(ws.clock, HandClock)
    ws.clock.at = datetime(*moment, tzinfo=UTC)  # type: ignore[misc,arg-type]
    return ws


def event(row: Row = EVENT, **changes: object) -> bytes:
    """Return an event as JSON; a change of None leaves the key out."""
    told: Mapping[str, object] = {**row, **changes}
    return json.dumps({name: value for name, value in told.items() if value is not None}).encode()

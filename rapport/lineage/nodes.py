"""What lineage is told in: nodes with their nights, rows and runs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from infra.clock import Nights
from infra.company.source import Source
from rapport.lineage.kinds import ORDER, Kind
from validation.gate.accounts import Account

SETS = "training_sets/"


@dataclass(frozen=True)
class Node:
    """One thing that something came from or went into.

    Attributes
    ----------
    nights
        The nights of it that are concerned; none where it has none.
    rows
        How many of its rows are.
    run
        The run that wrote it: Airflow's id, or that of the back-fill.
    summary
        What was found of it: the account of the gate, the verdict of a suite, the state of a model.
    details
        Everything else, for programs.
    """

    kind: Kind
    name: str
    nights: Nights | None = None
    rows: int | None = None
    run: str = ""
    summary: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the node as JSON-able values."""
        nights = [str(self.nights.first), str(self.nights.last)] if self.nights else None
        named = {"kind": self.kind, "name": self.name, "nights": nights, "rows": self.rows, "run": self.run}
        return named | {"summary": self.summary, **self.details}


@dataclass(frozen=True)
class FileArrival:
    """A file in one night: what the gate made of its rows, and which run let them in."""

    source: Source
    file: str
    night: date
    account: Account
    run: str
    digest: str | None

    def node(self) -> Node:
        """Return it as a node."""
        account = self.account
        rejected = sum(account["reasons"].values())
        reasons = ", ".join(f"{reason} {rows}" for reason, rows in sorted(account["reasons"].items()))
        summary = f"{account['read']} read, {account['silver']} in silver, {account['duplicates']} repeats"
        summary += f", {rejected} in quarantine ({reasons})" if rejected else ", none rejected"
        details = {"source": self.source.name, "fact": self.source.fact, "sha256": self.digest, "account": account}
        name = f"{self.source.name}/{self.file}"
        return Node("file", name, Nights(self.night, self.night), account["silver"], self.run, summary, details)


def distinct(nodes: Iterable[Node]) -> list[Node]:
    """Return nodes once each, those nearest to what was asked first."""
    found: dict[tuple[str, str, str], Node] = {}
    for node in nodes:
        found.setdefault((node.kind, node.name, str(node.nights)), node)
    return sorted(found.values(), key=lambda node: ORDER.index(node.kind))

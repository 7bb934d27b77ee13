"""Every row is accounted for, against an independent reader: plain loops, no DuckDB, no adapter of ours."""

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from infra.clock import FixedClock
from infra.settings import ROOT, Settings
from infra.workspace import Workspace, open_workspace
from rapport.world.run import ensure
from validation.bronze.ingest import ingest
from validation.contracts.standard import CONTRACTS
from validation.gate.accounts import accounts, counts
from validation.gate.run import gate
from validation.sources.coverage import last_night

CLOCK = FixedClock(datetime(2026, 11, 21, 6, tzinfo=UTC))
SETTINGS = Settings()
LAST = date(2016, 4, 24)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return the public company after the door, up to its last night."""
    if not (SETTINGS.public_data / "servicenow").exists() and os.environ.get("CI") != "true":
        pytest.skip("the public data is not here; RAPPORT_PUBLIC_DATA names its folder")
    home = tmp_path_factory.mktemp("public")
    ws = open_workspace(
        Settings(home=home, company=ROOT / "companies" / "public", public_data=SETTINGS.public_data), CLOCK
    )
    night = last_night(ws)
    ingest(ws, night)
    gate(ws, night)
    return ws


def rows(path: Path, *columns: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, of some columns or all."""
    for batch in pq.ParquetFile(path).iter_batches(columns=columns or None):
        yield from batch.to_pylist()


def per_file(ws: Workspace, fact: str, night: date) -> dict[str, Counter[str]]:
    """Return the account of a fact's files: read, silver, duplicates and every reason."""
    found: dict[str, Counter[str]] = {}
    for _, file, account in accounts(ws, fact, night):
        sums = {"read": account["read"], "silver": account["silver"], "duplicates": account["duplicates"]}
        found.setdefault(file, Counter()).update({**sums, **account["reasons"]})
    return {file: +sums for file, sums in found.items()}


def test_all_public_rows_are_accounted_for(public: Workspace) -> None:
    """Per file and fate, and the values with them: kinds, amounts, callers."""
    night = last_night(public)
    assert night >= LAST
    retail, star = timedelta(weeks=282, minutes=60), timedelta(weeks=-213)
    for source, files, fact, time, shift in (
        ("servicenow", "*", "ticket_events", "sys_updated_at", timedelta(0)),
        ("online_retail", "*", "transactions", "InvoiceDate", retail),
        ("star", "events*", "interactions", "ts", star),
    ):
        expected: dict[str, Counter[str]] = {}
        for path in sorted((SETTINGS.public_data / source).glob(f"{files}.parquet")):
            read = with_times(rows(path, "dialogue_id", "i", time)) if source == "star" else rows(path, time)
            available = sum((row[time] + shift).date() <= night for row in read)
            expected[path.name] = Counter(read=available, silver=available)
        assert per_file(public, fact, night) == expected
        assert counts(public, night)[fact]["silver"] == public.lake.read(f"silver/{fact}").num_rows


def with_times(found: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the steps of dialogues in their order, each with a time: its own or that of the step before it."""
    before: dict[str, Any] = {}
    for row in sorted(found, key=lambda row: (row["dialogue_id"], row["i"])):
        before = row if row["ts"] else row | {"ts": before["ts"]}
        yield before


def said(text: str | None) -> str | None:
    """Return what a text says, as far as no mask of personal data may stand in it."""
    return "with digits" if text and re.search("[0-9@<]", text) else text or None


def test_the_turns_of_dialogues_are_those_of_a_plain_walk(public: Workspace) -> None:
    """Who spoke when and to whom, what the wizard chose, every word; instructions to the user say nothing."""
    night, expected = last_night(public), Counter[tuple[object, ...]]()
    for path in sorted((SETTINGS.public_data / "star").glob("events*.parquet")):
        for row in with_times(rows(path)):
            time, agent, action = row["ts"] - timedelta(weeks=213), row["agent"], row["action"]
            if time.date() > night:
                continue
            role = {"User": "customer", "Wizard": "agent"}.get(agent, "bot")
            seen = action == "utter" or (agent == "Wizard" and action == "pick_suggestion")
            chosen = None if agent == "User" else row["action_label"] or action
            text = None if agent == "UserGuide" else said(row["text"])
            expected[str(row["dialogue_id"]), row["i"], row["user_id"], time, role, seen, chosen, text] += 1
    names = ("thread_id", "event_id", "source_id", "event_time", "author_role", "visibility", "action", "text")
    silver = public.lake.read("silver/interactions").select(names)
    found = Counter(
        (thread, int(event.rpartition("-")[2]), who, time, role, visibility == "public", action, said(text))
        for thread, event, who, time, role, visibility, action, text in zip(
            *(column.to_pylist() for column in silver.columns), strict=True
        )
    )
    assert found == expected


def test_the_kinds_of_invoice_lines_are_those_of_a_plain_count(public: Workspace) -> None:
    """Cancellations, adjustments and orders, with the sum of their amounts."""
    expected: Counter[str] = Counter()
    night = last_night(public)
    for path in sorted((SETTINGS.public_data / "online_retail").glob("*.parquet")):
        for row in rows(path):
            if (row["InvoiceDate"] + timedelta(weeks=282, hours=1)).date() > night:
                continue
            invoice, quantity = str(row["Invoice"]), int(str(row["Quantity"]))
            odd = invoice.startswith("A") or quantity < 0
            expected["refund" if invoice.startswith("C") else "adjustment" if odd else "order"] += 1
    silver = public.lake.read("silver/transactions")
    assert Counter(silver["kind"].to_pylist()) == expected
    assert len(set(silver["event_id"].to_pylist())) == silver.num_rows


def test_the_kinds_of_ticket_events_are_those_of_a_plain_walk(public: Workspace) -> None:
    """Walking each incident in the order of its events gives the same words and the same service levels."""
    log = [row for path in sorted((SETTINGS.public_data / "servicenow").glob("*.parquet")) for row in rows(path)]
    log.sort(key=lambda row: (str(row["number"]), int(str(row["event_seq"]))))
    expected: Counter[tuple[str, object]] = Counter()
    before: dict[str, Any] = {}
    for row in log:
        state, first = row["incident_state"], row["number"] != before.get("number")
        handed = any(row[name] != before.get(name) for name in ("assignment_group", "reassignment_count"))
        again = int(str(row["reopen_count"])) > int(str(before.get("reopen_count", 0)))
        kind = "opened" if first else "assigned" if handed else "reopened" if again else ""
        kind = kind or {"Resolved": "resolved", "Closed": "closed"}.get(str(state), "updated")
        expected[kind, row["made_sla"] if state == "Closed" else None] += 1
        before = row
    silver = public.lake.read("silver/ticket_events")
    assert Counter(zip(silver["kind"].to_pylist(), silver["sla_met"].to_pylist(), strict=True)) == expected


# The faults of a simulated row, by hand: column of the file, reason, and what is right there.
Rules = list[tuple[str, str, Callable[[str], bool]]]
CLICKS: Rules = [
    ("action", "unknown:kind", lambda text: text in ("page_view", "login", "product_use", "search")),
    ("duration_ms", "range:duration_ms", lambda text: 0 <= int(text) <= 86_400_000),
]
RIGHT: dict[str, Rules] = {
    "crm": [
        ("tier", "unknown:tier", lambda text: text in ("bronze", "silver", "gold", "platinum")),
        ("lang", "form:language", lambda text: len(text) == 2 and text.isalpha()),
    ],
    "helpdesk": [
        (
            "action",
            "unknown:kind",
            lambda text: text in ["opened", "assigned", "escalated", "reopened", "resolved", "closed", "updated"],
        ),
        (
            "channel",
            "unknown:channel",
            lambda text: text in ["chat", "email", "call", "social", "review", "web", "app", "shop"],
        ),
        ("priority", "range:priority", lambda text: 1 <= int(text) <= 5),
    ],
    "chat": [
        ("role", "unknown:author_role", lambda text: text in ("customer", "agent", "bot")),
        (
            "channel",
            "unknown:channel",
            lambda text: text in ["chat", "email", "call", "social", "review", "web", "app", "shop"],
        ),
    ],
    "shop": [
        ("type", "unknown:kind", lambda text: text in ("order", "refund", "plan_change")),
        ("amount_minor", "negative_amount", lambda text: int(text) >= 0),
    ],
    "web": CLICKS,
    "visits": CLICKS,
    "logins": [("action", "unknown:kind", lambda text: text in ("linked", "unlinked"))],
    "merges": [("merged_into", "link_to_nobody", lambda text: text != "")],
    "surveys": [
        ("survey", "unknown:survey", lambda text: text in ("csat", "nps", "ces", "poll")),
        ("score", "range:score", lambda text: 0 <= float(text) <= 100),
        ("weight", "range:weight", lambda text: text == "" or float(text) > 0),
    ],
    "consents": [
        ("purpose", "unknown:purpose", lambda text: text in ("service", "personalisation", "marketing", "research")),
        ("answer", "unknown:kind", lambda text: text in ("granted", "withdrawn")),
    ],
    "actions": [("propensity", "range:propensity", lambda text: 0 < float(text) <= 1)],
    "outcomes": [
        ("kind", "unknown:kind", lambda text: text == "reward"),
        ("value", "missing:value", lambda text: text != ""),
    ],
}
TIMES = ("changed_at", "at", "sent_at", "ordered_at", "decided_at", "measured_at", "merged_at", "answered_at")


def told(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file as text, missing values as empty text."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as lines:
            return list(csv.DictReader(lines))
    found = rows(path) if path.suffix == ".parquet" else map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [{name: "" if value is None else str(value) for name, value in row.items()} for row in found]


def faults(source: str, row: dict[str, str]) -> str:
    """Return what is wrong with a row, as quarantine writes it."""
    reasons = [reason for column, reason, right in RIGHT[source] if not right(row[column])]
    if source == "logins" and row["action"] == "linked" and not row["customer_no"]:
        reasons += ["link_to_nobody"]
    (time,) = (name for name in TIMES if name in row)
    try:
        ahead = datetime.fromisoformat(row[time]) > datetime.fromisoformat(row["exported_at"])
        reasons += ["event_time_in_the_future"] if ahead else []
    except ValueError:
        reasons += ["unparsable:event_time"]
    return ";".join(sorted(reasons))


def expected_of(source: str, paths: Sequence[Path]) -> dict[str, Counter[str]]:
    """Return the account of a source's files in the order of their nights."""
    seen: set[tuple[tuple[str, str], ...]] = set()
    found: dict[str, Counter[str]] = {}
    for path in paths:
        sums = found.setdefault(path.name, Counter())
        for row in sorted(told(path), key=lambda row: row["exported_at"]):
            said = tuple(sorted((name, value) for name, value in row.items() if name != "exported_at"))
            fate = faults(source, row) or ("duplicates" if said in seen else "silver")
            seen |= {said} if fate == "silver" else set()
            sums.update(["read", fate])
    return {name: sums for name, sums in found.items() if sums}


def test_all_simulated_rows_are_accounted_for(tmp_path: Path) -> None:
    """Per file and per reason, with duplicates told apart from revisions."""
    text = (ROOT / "companies" / "simulated" / "company.toml").read_text(encoding="utf-8")
    for wide, small in (("customers = 5000", "customers = 300"), ("days = 180", "days = 40")):
        text = text.replace(wide, small)
    (tmp_path / "company.toml").write_text(text, encoding="utf-8")
    ws = open_workspace(Settings(home=tmp_path / "state", company=tmp_path / "company.toml"), CLOCK)
    ensure(ws)
    night = last_night(ws)
    ingest(ws, night)
    gate(ws, night)
    expected: dict[str, dict[str, Counter[str]]] = {}
    for source in (source for source in ws.company.sources if not source.streamed):
        paths = sorted((ws.root / "world").glob(source.path.removeprefix("{world}/").replace("{night}", "*")))
        expected.setdefault(source.fact, {}).update(expected_of(source.name, paths))
    assert {fact: per_file(ws, fact, night) for fact in expected} == expected
    assert set(expected) == set(CONTRACTS)
    for fact, found in counts(ws, night).items():
        assert found["silver"] == ws.lake.read(f"silver/{fact}").num_rows > 0

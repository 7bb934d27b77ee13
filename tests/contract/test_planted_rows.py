"""For every expectation a planted row exists that is quarantined with its reason, and reaches silver without it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.small_companies import NIGHT, deliver, source, workspace
from validation.bronze.ingest import ingest
from validation.contracts.standard import CONTRACTS
from validation.gate import suites
from validation.gate.run import gate

GOOD = {
    "event_id": "1",
    "source_id": "C1",
    "event_time": "2026-05-25T10:00:00Z",
    "revision": "1",
    "retracted": "false",
    "exported_at": "2026-05-25T10:05:00Z",
}
FACTS: dict[str, dict[str, str]] = {
    "customers": {"segment": "consumer", "tier": "gold", "region": "north", "language": "de", "plan": "basic"},
    "identity_links": {"kind": "linked", "customer": "C1", "backwards": "true"},
    "interactions": {
        "channel": "chat",
        "thread_id": "T1",
        "author_role": "customer",
        "visibility": "public",
        "text": "hello",
        "action": "greet",
    },
    "ticket_events": {
        "ticket_id": "T1",
        "kind": "opened",
        "priority": "3",
        "category": "billing",
        "assignment_group": "a",
        "channel": "call",
        "sla_met": "true",
    },
    "transactions": {
        "kind": "order",
        "order_id": "O1",
        "product": "lamp",
        "quantity": "1",
        "amount_minor": "500",
        "currency": "EUR",
    },
    "behaviours": {"kind": "login", "session_id": "S1", "page": "home", "duration_ms": "10"},
    "survey_answers": {
        "survey": "csat",
        "score": "4",
        "weight": "1.5",
        "channel": "email",
        "ticket_id": "T1",
        "verbatim": "fine",
    },
    "consents": {"purpose": "marketing", "kind": "granted"},
    "decisions": {
        "decision_id": "D1",
        "policy": "p",
        "candidates": "a|b",
        "choice": "a",
        "propensity": "0.5",
    },
    "outcomes": {"decision_id": "D1", "kind": "reward", "value": "0.5"},
}
# What breaks one rule and no other; a missing value needs no entry.
PLANTED: dict[str, dict[str, str]] = {
    "event_time_in_the_future": {"event_time": "2026-05-25T11:00:00Z"},
    "range:revision": {"revision": "-1"},
    "form:segment": {"segment": "VIP!"},
    "unknown:tier": {"tier": "diamond"},
    "form:language": {"language": "deu"},
    "unknown:channel": {"channel": "pigeon"},
    "unknown:author_role": {"author_role": "ghost"},
    "unknown:visibility": {"visibility": "secret"},
    "unknown:kind": {"kind": "unheard"},
    "range:priority": {"priority": "6"},
    "range:amount_minor": {"amount_minor": "100000000001"},
    "form:currency": {"currency": "euro"},
    "negative_amount": {"amount_minor": "-1"},
    "link_to_nobody": {"customer": ""},
    "unknown:survey": {"survey": "horoscope"},
    "range:score": {"score": "101"},
    "range:weight": {"weight": "0"},
    "unknown:purpose": {"purpose": "curiosity"},
    "range:duration_ms": {"duration_ms": "-1"},
    "range:propensity": {"propensity": "1.5"},
    "range:value": {"value": "2e9"},
}
CASES = [(fact, reason) for fact, contract in CONTRACTS.items() for reason in suites.expectations(contract)]


def planted(reason: str) -> dict[str, str]:
    """Return what to change in a good row to break one rule."""
    if reason.startswith("missing:"):
        return {reason.removeprefix("missing:"): ""}
    assert reason in PLANTED, f"no row is planted for the expectation {reason}"
    return PLANTED[reason]


def run(home: Path, fact: str, changes: Sequence[dict[str, str]]) -> dict[int, str]:
    """Bring a good row and planted ones through the door; returns the fate of each: ``silver`` or its reason."""
    good = GOOD | FACTS[fact]
    ws = workspace(home, source(fact, list(good), max_rejected=1.0))
    rows = [good, *(good | {"event_id": str(i)} | change for i, change in enumerate(changes, 2))]
    deliver(home, f"{fact}-{NIGHT}.csv", rows)
    ingest(ws, NIGHT)
    gate(ws, NIGHT)
    fates = {row["position"]: row["reason"] for row in ws.lake.read(f"quarantine/{fact}").to_pylist()}
    return fates | dict.fromkeys(ws.lake.read(f"silver/{fact}")["position"].to_pylist(), "silver")


@pytest.mark.parametrize("fact", CONTRACTS)
def test_every_planted_row_is_quarantined_for_the_rule_it_breaks(fact: str, tmp_path: Path) -> None:
    """The whole suite keeps each planted row out, with its own reason and no other."""
    reasons = list(suites.expectations(CONTRACTS[fact]))
    assert run(tmp_path, fact, [planted(reason) for reason in reasons]) == dict(enumerate(["silver", *reasons]))


@pytest.mark.parametrize(("fact", "reason"), CASES)
def test_a_planted_row_reaches_silver_without_its_expectation(
    fact: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The expectation, and nothing else, keeps its row out; the pages about it, half of the time, are left out here."""
    whole = suites.expectations
    monkeypatch.setattr("great_expectations.data_context.FileDataContext.build_data_docs", lambda context: {})
    monkeypatch.setattr(suites, "expectations", lambda c: {k: v for k, v in whole(c).items() if k != reason})
    assert run(tmp_path, fact, [planted(reason)]) == {0: "silver", 1: "silver"}

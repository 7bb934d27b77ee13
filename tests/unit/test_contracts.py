"""The contracts: light to import, one word for one thing, and hindsight marked where it is."""

import subprocess
import sys

import pytest

from infra.settings import ROOT
from tests.small_companies import NIGHT, deliver, source, workspace
from validation.bronze.ingest import ingest
from validation.contracts.standard import CONTRACTS
from validation.contracts.words import PURPOSES
from validation.gate.run import gate

ANSWER = {
    "event_id": "1", "source_id": "", "event_time": "2026-05-25T10:00:00Z", "survey": "nps", "score": "7",
    "weight": "1.5", "verbatim": "Call me at +49 30 1234567", "retracted": "", "exported_at": "2026-05-25T10:05:00Z",
}  # fmt: skip
LINK = {
    "event_id": "1", "source_id": "B1", "event_time": "2026-05-25T10:00:00Z", "kind": "linked", "customer": "C1",
    "backwards": "", "retracted": "", "exported_at": "2026-05-25T10:05:00Z",
}  # fmt: skip


def test_contracts_import_nothing_but_the_standard_library() -> None:
    """The feature language reads them, and whoever imports that must not wait for more."""
    code = (
        "import sys, validation.contracts.standard; "
        "print(*{m.partition('.')[0] for m in sys.modules} - {*sys.stdlib_module_names, '__main__', 'validation'})"
    )
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"]
    plain = [sys.executable, "-I", "-c", "import sys; print(*{m.partition('.')[0] for m in sys.modules})"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    always = subprocess.run(plain, capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) <= set(always)


def test_what_is_known_only_afterwards_is_marked() -> None:
    """The service level of a ticket, and what came of a decision: labels may read them, features may not."""
    marked = {(fact, c.name) for fact, contract in CONTRACTS.items() for c in contract.all_columns if c.hindsight}
    assert marked == {("ticket_events", "sla_met"), ("outcomes", "value")}


def test_purposes_are_the_words_of_consents() -> None:
    """They stand in one place."""
    (purpose,) = [column for column in CONTRACTS["consents"].columns if column.name == "purpose"]
    assert purpose.allowed == PURPOSES


@pytest.mark.parametrize("fact", CONTRACTS)
def test_no_fact_names_a_column_twice(fact: str) -> None:
    """Neither its own nor one that every fact has; rules speak of columns that there are."""
    contract = CONTRACTS[fact]
    names = [column.name for column in contract.all_columns]
    assert len(names) == len(set(names))
    for rule in contract.all_rules:
        assert set(rule.columns) <= {*names, "ingested_at"}


def test_an_answer_may_come_from_nobody_and_its_words_are_masked(tmp_path) -> None:
    """A withdrawn answer is a revision that says so."""
    ws = workspace(tmp_path, source("survey_answers", list(ANSWER)))
    gone = ANSWER | {"retracted": "true", "verbatim": "", "exported_at": "2026-05-25T11:00:00Z"}
    deliver(tmp_path, f"survey_answers-{NIGHT}.csv", [ANSWER, gone])
    ingest(ws, NIGHT)
    gate(ws, NIGHT)
    rows = ws.lake.read("silver/survey_answers").sort_by("ingested_at").to_pylist()
    assert [(row["source_id"], row["score"], row["weight"]) for row in rows] == [(None, 7.0, 1.5)] * 2
    assert [(row["verbatim"], row["retracted"]) for row in rows] == [("Call me at <phone>", False), (None, True)]


def test_only_a_link_needs_a_customer(tmp_path) -> None:
    """An id that is nobody's again names none; a mistake is withdrawn under its own id."""
    ws = workspace(tmp_path, source("identity_links", list(LINK), max_rejected=1.0))
    rows = [
        LINK,
        LINK | {"event_id": "2", "customer": ""},
        LINK | {"event_id": "3", "customer": "", "kind": "unlinked", "backwards": "false"},
        LINK | {"retracted": "true", "exported_at": "2026-05-25T11:00:00Z"},
    ]
    deliver(tmp_path, f"identity_links-{NIGHT}.csv", rows)
    ingest(ws, NIGHT)
    gate(ws, NIGHT)
    silver = ws.lake.read("silver/identity_links").sort_by([("event_id", "ascending"), ("ingested_at", "ascending")])
    assert [(row["kind"], row["customer"], row["retracted"]) for row in silver.to_pylist()] == [
        ("linked", "C1", False),
        ("linked", "C1", True),
        ("unlinked", None, False),
    ]
    assert ws.lake.read("quarantine/identity_links")["reason"].to_pylist() == ["link_to_nobody"]

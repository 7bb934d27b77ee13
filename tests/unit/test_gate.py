"""The gate's parts: types from text, masks, the no-op check, Data Docs and the account."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.small_companies import NIGHT, ORDER, deliver, digests, orders
from validation.bronze.ingest import ingest
from validation.contracts.language import Type
from validation.contracts.masks import masked_sql
from validation.contracts.parse import parsed_sql
from validation.gate.accounts import counts
from validation.gate.run import gate

READ: list[tuple[Type, str, object]] = [
    ("integer", "12", 12),
    ("integer", "-3.0", -3),
    ("integer", "1.5", None),
    ("integer", "1e3", None),
    ("integer", "99999999999999999999", None),
    ("decimal", ".5", 0.5),
    ("decimal", "1e-3", 0.001),
    ("decimal", "nan", None),
    ("decimal", "1,5", None),
    ("boolean", "True", True),
    ("boolean", "0", False),
    ("boolean", "maybe", None),
    ("time", "2026-05-25T10:00:00Z", "2026-05-25 10:00:00+00"),
    ("time", "2026-05-25 10:00:00", "2026-05-25 10:00:00+00"),
    ("time", "2026-05-25T10:00:00.123456+02:00", "2026-05-25 08:00:00.123456+00"),
    ("time", "2026-02-30T10:00:00Z", None),
    ("time", "25/05/2026", None),
    ("time", "infinity", None),
]


@pytest.mark.parametrize(("kind", "text", "value"), READ)
def test_text_is_read_or_not(kind: Type, text: str, value: object) -> None:
    """What cannot be read is null, never a guess."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        cast = "::VARCHAR" if kind == "time" else ""
        assert connection.execute(f"SELECT ({parsed_sql(kind, '$1::VARCHAR')}){cast}", [text]).fetchone() == (value,)


MASKED = {
    "mail a.b+c@shop.co.uk now": "mail <email> now",
    "card 4111 1111 1111 1111 please": "card <card> please",
    "call +49 30 1234567 or (555) 123-4567": "call <phone> or <phone>",
    "call 555-123-4567, 020 7946 0958 or 06 12 34 56 78": "call <phone>, <phone> or <phone>",
    "order O1234567 of 2026-05-25 for 1299.00, T0000123": "order O1234567 of 2026-05-25 for 1299.00, T0000123",
}


@pytest.mark.parametrize("text", MASKED)
def test_personal_data_is_masked_and_nothing_else(text: str) -> None:
    """Addresses, telephone and card numbers go; ids, dates and amounts stay."""
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT {masked_sql('$1::VARCHAR')}", [text]).fetchone() == (MASKED[text],)


def test_the_same_night_again_is_skipped_without_great_expectations(tmp_path: Path) -> None:
    """With the no-op check off it runs again, to the same digests; Data Docs are there."""
    ws = orders(tmp_path)
    deliver(tmp_path, f"transactions-{NIGHT}.csv", [ORDER, ORDER | {"event_id": "2", "kind": "gift"}])
    ingest(ws, NIGHT)
    assert gate(ws, NIGHT)["skipped"] is False
    before = digests(ws, "silver", "quarantine", "duplicates")
    program = f"""
import sys
from datetime import date
from infra.workspace import open_workspace
from validation.gate.accounts import counts
from validation.gate.run import gate
ws = open_workspace()
print(gate(ws, date({NIGHT.year}, {NIGHT.month}, {NIGHT.day}))["skipped"], bool(counts(ws, date.max)))
print("great_expectations" in sys.modules)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], env=ws.environment() | {"PYTHONPATH": ":".join(sys.path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.split() == ["True", "True", "False"]
    again = orders(tmp_path, skip_unchanged=False)
    assert gate(again, NIGHT)["skipped"] is False
    assert digests(ws, "silver", "quarantine", "duplicates") == before
    docs = ws.folder("docs") / "gx"
    assert list(docs.rglob("data_docs/local_site/index.html"))
    assert "analytics_enabled: false" in next(docs.rglob("great_expectations.yml")).read_text()


def test_the_account_is_kept_per_file_and_reason(tmp_path: Path) -> None:
    """And the text of a quarantined row can be replayed."""
    ws = orders(tmp_path)
    deliver(tmp_path, f"transactions-{NIGHT}.csv", [ORDER, ORDER, ORDER | {"event_id": "2", "kind": "gift"}])
    ingest(ws, NIGHT)
    report = gate(ws, NIGHT)
    expected = {"transactions": {"read": 3, "silver": 1, "quarantined": 1, "duplicates": 1}}
    assert (report["facts"], counts(ws, NIGHT)) == (expected, expected)
    (notes,) = [commit.notes for commit in ws.lake.commits("silver/transactions")]
    assert notes is not None
    assert notes["nights"][str(NIGHT)]["transactions"] == {
        f"transactions-{NIGHT}.csv": {"read": 3, "silver": 1, "duplicates": 1, "reasons": {"unknown:kind": 1}}
    }
    (raw,) = ws.lake.read("quarantine/transactions")["raw"].to_pylist()
    assert {name: value for name, value in json.loads(raw).items() if value} == {
        name: value for name, value in (ORDER | {"event_id": "2", "kind": "gift"}).items() if value
    }

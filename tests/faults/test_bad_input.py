"""Bad input at the door: one clear sentence each, nothing lost, and the last good night stands."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from tests.small_companies import CLOCK, NIGHT, ORDER, deliver, digests, orders, source, workspace
from validation.bronze.ingest import ingest
from validation.gate.accounts import counts, reasons
from validation.gate.run import gate
from validation.sources.coverage import last_night

NEXT = NIGHT + timedelta(days=1)
ROOMS = ("bronze", "silver", "quarantine", "duplicates")
CLICK = {"event_id": "1", "source_id": "C1", "event_time": "2026-05-25T10:00:00Z", "kind": "login", "session_id": "S"}


def one_sentence(error: pytest.ExceptionInfo[Rejected], *words: str) -> None:
    """Check that a refusal is one line that names what it must."""
    text = str(error.value)
    assert "\n" not in text
    assert [word for word in words if word not in text] == []


def truncate(path: Path) -> None:
    """Cut a file in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def two_sources(home: Path) -> Workspace:
    """Return a company with orders as CSV and clicks as Parquet, of which one night is closed."""
    orders = source("transactions", list(ORDER), min_rows=1)
    ws = workspace(home, orders, source("behaviours", list(CLICK), "parquet"))
    for night in (NIGHT, NEXT):
        deliver(home, f"transactions-{night}.csv", [ORDER | {"event_id": f"{night}-{i}"} for i in range(30)])
        deliver(home, f"behaviours-{night}.parquet", [CLICK | {"event_id": f"{night}-{i}"} for i in range(30)])
    ingest(ws, NIGHT)
    gate(ws, NIGHT)
    return ws


BATCHES: dict[str, tuple[str, Callable[[Path], object], tuple[str, ...]]] = {
    "missing file": ("transactions-{}.csv", Path.unlink, ("transactions", "did not arrive", str(NEXT))),
    "wrong column": (
        "transactions-{}.csv",
        lambda p: p.write_text(p.read_text().replace("amount_minor", "amnt", 1)),
        ("'amount_minor'", "amnt"),
    ),
    "truncated Parquet": ("behaviours-{}.parquet", truncate, ("behaviours", "whole Parquet file")),
    "Parquet of no bytes": (
        "behaviours-{}.parquet",
        lambda p: p.write_bytes(b""),
        ("behaviours", "whole Parquet file"),
    ),
    "CSV of no bytes": ("transactions-{}.csv", lambda p: p.write_bytes(b""), ("transactions", "an empty file")),
    "CSV of no rows": (
        "transactions-{}.csv",
        lambda p: p.write_text(p.read_text().splitlines()[0] + "\n"),
        ("transactions", "at least 1 row(s)"),
    ),
    "not text": ("transactions-{}.csv", lambda p: p.write_bytes(b"\xff\xfe\x00"), ("transactions", "UTF-8")),
}


@pytest.mark.parametrize("fault", BATCHES)
def test_a_bad_batch_writes_nothing_and_leaves_the_last_good_night(fault: str, tmp_path: Path) -> None:
    """No source of the night is written, and the mended night runs as if nothing had been."""
    ws = two_sources(tmp_path)
    before = digests(ws, *ROOMS)
    name, spoil, words = BATCHES[fault]
    path = tmp_path / "in" / name.format(NEXT)
    good = path.read_bytes()
    spoil(path)
    with pytest.raises(Rejected) as error:
        ingest(ws, NEXT)
    one_sentence(error, *words)
    assert digests(ws, *ROOMS) == before
    path.write_bytes(good)
    ingest(ws, NEXT)
    assert ws.lake.read("bronze/transactions").num_rows == 60


def test_too_many_rejected_rows_stop_the_night_for_all_facts(tmp_path: Path) -> None:
    """The gate writes nothing at all; bronze keeps the rows, so nothing is lost."""
    ws = two_sources(tmp_path)
    before = digests(ws, "silver", "quarantine", "duplicates")
    bad = [ORDER | {"event_id": str(i), "event_time": "yesterday"} for i in range(30)]
    deliver(tmp_path, f"transactions-{NEXT}.csv", bad)
    ingest(ws, NEXT)
    with pytest.raises(Rejected) as error:
        gate(ws, NEXT)
    one_sentence(error, "transactions", "5%", "30 of 30", "unparsable:event_time")
    assert digests(ws, "silver", "quarantine", "duplicates") == before
    assert ws.lake.read("bronze/transactions").num_rows == 60


ROWS: dict[str, tuple[dict[str, str], str]] = {
    "unparsable time": ({"event_time": "25.05.2026"}, "unparsable:event_time"),
    "unparsable number": ({"amount_minor": "1.5"}, "unparsable:amount_minor"),
    "unknown word": ({"kind": "gift"}, "unknown:kind"),
    "negative amount": ({"amount_minor": "-5"}, "negative_amount"),
    "future": ({"event_time": "2026-06-25T10:00:00Z"}, "event_time_in_the_future"),
    "two faults": ({"currency": "", "amount_minor": "x"}, "missing:currency;unparsable:amount_minor"),
}


def test_bad_rows_go_to_quarantine_with_reason_position_and_text(tmp_path: Path) -> None:
    """Each keeps its whole text; a line of the wrong length is one of them; good rows pass."""
    ws = orders(tmp_path)
    rows = [ORDER | {"event_id": "good"}, *(ORDER | change for change, _ in ROWS.values())]
    path = deliver(tmp_path, f"transactions-{NIGHT}.csv", rows)
    path.write_text(path.read_text() + "a,b\n")
    ingest(ws, NIGHT)
    gate(ws, NIGHT)
    found = {row["position"]: row for row in ws.lake.read("quarantine/transactions").to_pylist()}
    assert [found[i]["reason"] for i in sorted(found)] == [*(reason for _, reason in ROWS.values()), "unparsable:row"]
    assert '"event_time":"25.05.2026"' in found[1]["raw"]
    assert '"a,b"' in found[7]["raw"]
    assert counts(ws, NIGHT)["transactions"] == {"read": 8, "silver": 1, "quarantined": 7, "duplicates": 0}
    assert sum(reasons(ws, "transactions", NIGHT).values()) == 7


def test_an_unknown_channel_is_quarantined(tmp_path: Path) -> None:
    """A message by pigeon does not pass."""
    row = {"event_id": "1", "source_id": "C1", "event_time": "2026-05-25T10:00:00Z", "channel": "chat"}
    row |= {"thread_id": "T", "author_role": "customer", "visibility": "public"}
    row |= {"text": "mail me: a.b@c.org, +44 20 7946 0958"}
    ws = workspace(tmp_path, source("interactions", list(row), "jsonl"))
    deliver(tmp_path, f"interactions-{NIGHT}.jsonl", [row, row | {"event_id": "2", "channel": "pigeon"}])
    ingest(ws, NIGHT)
    gate(ws, NIGHT)
    assert ws.lake.read("quarantine/interactions")["reason"].to_pylist() == ["unknown:channel"]
    assert ws.lake.read("silver/interactions")["text"].to_pylist() == ["mail me: <email>, <phone>"]


def test_a_night_that_is_not_over_is_refused(tmp_path: Path) -> None:
    """By ingest and by the gate."""
    ws = orders(tmp_path)
    deliver(tmp_path, f"transactions-{NIGHT}.csv", [ORDER])
    for step in (ingest, gate):
        with pytest.raises(Rejected) as error:
            step(ws, CLOCK.now().date())
        one_sentence(error, "night", "2026-11-21")
    assert ws.lake.tables() == []


def test_a_gate_before_its_ingest_is_refused(tmp_path: Path) -> None:
    """One sentence says what to run first."""
    ws = orders(tmp_path)
    deliver(tmp_path, f"transactions-{NIGHT}.csv", [ORDER])
    with pytest.raises(Rejected) as error:
        gate(ws, NIGHT)
    one_sentence(error, "Run ingest first")


def test_a_night_before_or_beyond_a_whole_history_is_refused(tmp_path: Path) -> None:
    """A whole file covers the days before its newest record's; its last whole day is the company's."""
    ws = workspace(tmp_path, source("transactions", [c for c in ORDER if c != "exported_at"], path="in/orders.csv"))
    moments = ["2026-05-25T10:00:00Z", "2026-05-26T10:00:00Z", "2026-05-27T10:00:00Z"]
    deliver(tmp_path, "orders.csv", [ORDER | {"event_id": t, "event_time": t} for t in moments])
    assert last_night(ws) == date(2026, 5, 26)
    for night, word in ((date(2026, 5, 24), "2026-05-25"), (date(2026, 5, 27), "through 2026-05-26")):
        with pytest.raises(Rejected) as error:
            ingest(ws, night)
        one_sentence(error, word)
    assert ws.lake.tables() == []


def test_a_source_without_rows_is_refused(tmp_path: Path) -> None:
    """A whole history that is empty is no history."""
    ws = workspace(tmp_path, source("transactions", list(ORDER), path="in/orders.csv"))
    deliver(tmp_path, "orders.csv", [], list(ORDER))
    with pytest.raises(Rejected) as error:
        last_night(ws)
    one_sentence(error, "transactions", "empty source")


def test_missing_public_data_is_one_sentence_with_its_publishers(tmp_path: Path) -> None:
    """It names the files that are expected and who publishes them."""
    from infra.settings import ROOT, Settings
    from infra.workspace import open_workspace

    settings = Settings(home=tmp_path, company=ROOT / "companies" / "public", public_data=tmp_path / "nowhere")
    with pytest.raises(Rejected) as error:
        last_night(open_workspace(settings, CLOCK))
    words = ("servicenow/events", "online_retail/", "UCI Machine Learning Repository", "Online Retail II")
    one_sentence(error, *words, "Incident management process enriched event log", "RAPPORT_PUBLIC_DATA")

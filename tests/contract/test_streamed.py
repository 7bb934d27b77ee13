"""Streamed facts through the nights: bronze from the log, poison in quarantine once, what is held, replays, twins."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from infra.log.open import event_log
from infra.workspace import Workspace, open_workspace
from rapport_feast.errors import Rejected, Transient
from tests.small_companies import ORDER, deliver, digests, source
from tests.streamed_companies import EVENT, at, company, event, streamed
from validation.bronze.dead_letters import DEAD_LETTERS
from validation.bronze.event_log import release
from validation.bronze.ingest import ingest
from validation.bronze.replay import replay
from validation.gate.accounts import counts
from validation.gate.run import gate
from validation.sources.coverage import first_night, last_night

DAY1, DAY2, DAY3 = date(2026, 5, 25), date(2026, 5, 26), date(2026, 5, 27)
ROOMS = ("bronze", "silver", "quarantine", "duplicates")


def stream(ws: Workspace, *payloads: bytes, name: str = "transactions") -> None:
    """Append events to the company's log at its moment."""
    with event_log(ws) as log:
        log.append(name, payloads)


def night(ws: Workspace, day: date) -> None:
    """Run a night through the door, at six the morning after."""
    after = day + timedelta(days=1)
    at(ws, after.year, after.month, after.day, 6)
    ingest(ws, day)
    gate(ws, day)


def silver(ws: Workspace, day: date) -> list[str]:
    """Return the event ids that a night brought."""
    rows = ws.lake.read("silver/transactions").to_pylist()
    return sorted(row["event_id"].partition(":")[2] for row in rows if row["known_day"] == day)


@pytest.mark.row("T4")
def test_a_night_ingests_what_the_log_accepted_in_it(tmp_path: Path) -> None:
    """To the microsecond; what comes afterwards belongs to the next, also by a clock that is late."""
    ws = company(tmp_path)
    with pytest.raises(Rejected, match="at least one event, found none"):
        first_night(ws)
    stream(at(ws, 2026, 5, 25, 12), event(event_id="noon"))
    stream(at(ws, 2026, 5, 25, 23, 59, 59, 999999), event(event_id="last"))
    stream(at(ws, 2026, 5, 26), event(event_id="first"))
    assert first_night(ws) == DAY1
    assert last_night(at(ws, 2026, 5, 27, 6)) == DAY2
    with pytest.raises(Rejected, match="a night that is over"):
        ingest(ws, DAY3)
    night(ws, DAY1)
    assert silver(ws, DAY1) == ["last", "noon"]
    stream(at(ws, 2026, 5, 25, 13), event(event_id="by a late clock"))
    night(ws, DAY2)
    assert silver(ws, DAY2) == ["by a late clock", "first"]
    night(ws, DAY3)
    assert silver(ws, DAY3) == []
    assert counts(ws, DAY3)["transactions"]["read"] == 4


@pytest.mark.row("T8")
def test_an_event_dated_ahead_is_held_until_its_time(tmp_path: Path) -> None:
    """Ten minutes at most; and a trim leaves what is held."""
    ws = company(tmp_path)
    stream(
        at(ws, 2026, 5, 25, 23, 55),
        event(event_id="held", event_time="2026-05-26T00:05:00Z"),
        event(event_id="too far", event_time="2026-05-26T00:05:00.001Z"),
        event(event_id="soon", event_time="2026-05-25T23:59:00Z"),
    )
    night(ws, DAY1)
    assert silver(ws, DAY1) == ["soon"]
    assert [row["reason"] for row in ws.lake.read("quarantine/transactions").to_pylist()] == [
        "event_time_in_the_future"
    ]
    assert release(ws, DAY1) == 0
    with pytest.raises(Rejected, match="a night that holds what the log drops"):
        release(ws, DAY2)
    night(ws, DAY2)
    assert silver(ws, DAY2) == ["held"]
    (held,) = [row for row in ws.lake.read("silver/transactions").to_pylist() if row["event_id"].endswith("held")]
    assert held["ingested_at"] == held["event_time"] == datetime(2026, 5, 26, 0, 5, tzinfo=UTC)
    with event_log(ws) as log:
        assert (release(ws, DAY2), log.length()) == (3, 0)


@pytest.mark.row("T6")
def test_one_pass_equals_night_by_night(tmp_path: Path) -> None:
    """Digest by digest, poison and strays among them; and a night run again changes nothing."""
    ws = company(tmp_path)
    for number in (25, 26, 27):
        for hour in (0, 12, 23):
            stream(
                at(ws, 2026, 5, number, hour, 59, 30),
                event(event_id=f"{number}-{hour}"),
                event(event_id="again", amount_minor=hour),
                event(
                    event_id=f"{number}-{hour}-held",
                    event_time=f"2026-05-{number + (hour == 23)}T{(hour + 1) % 24:02d}:05:00Z",
                ),
                b"{",
            )
            stream(ws, event(), name="nobody")
    for day in (DAY1, DAY2, DAY3):
        night(ws, day)
    apart = digests(ws, *ROOMS)
    night(ws, DAY3)
    assert digests(ws, *ROOMS) == apart
    home = ws.settings.model_copy(update={"home": tmp_path / "once"})
    once = Workspace(home, ws.company, ws.clock)
    (once.root).mkdir(parents=True)
    (once.root / "log").symlink_to(ws.folder("log"))
    night(once, DAY3)
    assert digests(once, *ROOMS) == apart


def test_a_new_source_reads_from_its_first_night(tmp_path: Path) -> None:
    """What was sent to it before is in quarantine under its name, and a replay brings it in."""
    ws = company(tmp_path, streamed(), streamed("behaviours"))
    click = {
        "event_id": "c1",
        "source_id": "C1",
        "event_time": "2026-05-25T11:00:00Z",
        "kind": "login",
        "session_id": "s",
    }
    stream(ws, event())
    stream(ws, event(click), event(click), name="clicks")
    stream(ws, b"\xff", name="clicks")
    night(ws, DAY1)
    rows = ws.lake.read(DEAD_LETTERS).to_pylist()
    assert [(row["source"], row["reason"], row["known_day"]) for row in rows] == [
        ("clicks", "unknown_source", DAY1)
    ] * 3
    path = ws.settings.company
    path.write_text(path.read_text() + streamed("behaviours", "clicks"))
    ws = open_workspace(ws.settings, ws.clock)
    assert replay(ws, "clicks") == {"appended": 2, "left": 1}
    night(ws, DAY2)
    assert [row["event_id"] for row in ws.lake.read("silver/behaviours").to_pylist()] == ["clicks:c1"]
    assert counts(ws, DAY2)["behaviours"] == {"read": 2, "silver": 1, "quarantined": 0, "duplicates": 1}
    assert replay(ws, "clicks", DAY2) == {"appended": 0, "left": 0}
    with pytest.raises(Rejected, match="a streamed one: transactions, behaviours, clicks, found files"):
        replay(ws, "files")


@pytest.mark.row("T3")
def test_an_event_from_stream_and_file_counts_once(tmp_path: Path) -> None:
    """A nightly file of what was streamed brings duplicates, and what the stream missed."""
    files = source("transactions", list(ORDER), max_rejected=1.0).replace('name = "transactions"', 'name = "shop"')
    ws = company(tmp_path, files, streamed(name="live_shop", ids="shop"))
    row = ORDER | {"exported_at": "2026-05-25T22:00:00Z"}
    deliver(tmp_path, f"transactions-{DAY1}.csv", [row, row | {"event_id": "2"}])
    stream(ws, event(), event(event_id="3"), name="live_shop")
    assert last_night(at(ws, 2026, 5, 26, 6)) == DAY1
    night(ws, DAY1)
    found = {row["event_id"]: row["source"] for row in ws.lake.read("silver/transactions").to_pylist()}
    assert found == {"shop:1": "live_shop", "shop:2": "shop", "shop:3": "live_shop"}
    assert counts(ws, DAY1)["transactions"]["duplicates"] == 1


def test_bronze_keeps_payloads_as_they_came(tmp_path: Path) -> None:
    """Digits as they were, keys that nobody mapped aside; a payload that is none is kept in part."""
    ws = company(tmp_path)
    text = event(EVENT, amount_minor=500, colour="red").replace(b"500", b"5.0e2")
    stream(ws, text, b"x" * 5000 + b"\xff", b"{" + b" " * 1_000_000)
    night(ws, DAY1)
    good, bad, large = ws.lake.read("bronze/transactions").sort_by("_position").to_pylist()
    assert (good["amount_minor"], json.loads(good["_rest"]), good["_broken"]) == ("5.0e2", {"colour": "red"}, None)
    assert (bad["_broken"], bad["_fault"]) == ("x" * 4096, "not_text")
    assert (len(large["_broken"]), large["_fault"]) == (4096, "too_large")


def test_a_damaged_night_is_read_again_from_the_log(tmp_path: Path) -> None:
    """To the same digests; once it was released, the night says that it cannot be."""
    ws = company(tmp_path)
    stream(ws, event(), event(event_id="2"), b"{")
    night(ws, DAY1)
    before = digests(ws, *ROOMS)
    damage(ws)
    night(ws, DAY1)
    assert digests(ws, *ROOMS) == before
    night(ws, DAY2)
    assert release(ws, DAY1) == 3
    damage(ws)
    with pytest.raises(Rejected, match=f"the 3 entries of the log of night {DAY1}, found 0"):
        night(ws, DAY1)


def damage(ws: Workspace) -> None:
    """Flip a byte of a night of bronze."""
    (file,) = [
        Path(found.removeprefix("file://"))
        for found in DeltaTable(ws.lake.path("bronze/transactions")).file_uris()
        if str(DAY1) in found
    ]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_without_the_log_nothing_is_written(tmp_path: Path) -> None:
    """A night waits for the log; it is not empty because the log is away."""
    ws = company(tmp_path)
    stream(ws, event())
    night(ws, DAY1)
    away = Workspace(ws.settings.model_copy(update={"log_url": "redis://127.0.0.1:1/0"}), ws.company, ws.clock)
    at(ws, 2026, 5, 27, 6)
    with pytest.raises(Transient, match="does not answer"):
        ingest(away, DAY2)
    assert ws.lake.newest("bronze/transactions") == DAY1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"path": "x"}, "has no path"),
        ({"shift_weeks": 1}, "available at that moment"),
        ({"ids": "shop"}, "ids names a source of the same fact"),
        ({"adapter": "csv"}, "any other has one"),
    ],
)
def test_a_streamed_source_refuses_missing_and_foreign_settings(
    more: dict[str, object], said: str, tmp_path: Path
) -> None:
    """No path, no shift, and a twin that is one."""
    with pytest.raises(Rejected, match=said):
        company(tmp_path, streamed(**more))  # type: ignore[arg-type]

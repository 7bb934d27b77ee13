"""Poison in the log, one entry in a hundred (F14): nobody stops for it, each lies in quarantine once and says why."""

import json
import random
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from infra.log.open import event_log
from infra.workspace import Workspace, open_workspace
from tests.streamed_companies import at, company, event
from validation.bronze.dead_letters import DEAD_LETTERS
from validation.bronze.ingest import ingest
from validation.bronze.replay import replay
from validation.door.door import Door
from validation.gate.run import gate

pytest_plugins = ("tests.kafka",)
EVENTS, POISONED, PAGE = 5000, 50, 500
DAY1, DAY2 = date(2026, 5, 25), date(2026, 5, 26)
WORDS = "unknown:kind"
# How a payload is spoiled, and the reason that quarantine then gives.
POISON: dict[str, Callable[[bytes], bytes]] = {
    "unparsable:row:not_json": lambda good: good[:-5],
    "unparsable:row:not_text": lambda good: good.replace(b"lamp", b"\xff\xfe"),
    "unparsable:row:not_object": lambda good: b"[" + good + b"]",
    "unparsable:row:too_large": lambda good: good.replace(b"lamp", b"x" * 10_000_000),
    "unparsable:row:too_deep": lambda good: good.replace(b'"lamp"', b"[" * 500 + b"]" * 500),
    "unparsable:amount_minor": lambda good: good.replace(b'"500"', b"NaN"),
    "missing:event_id": lambda good: good.replace(b"event_id", b"eventId"),
    "event_time_in_the_future": lambda good: good.replace(b"2026-05-25T10", b"2026-06-25T10"),
    # A newer version of the sender says it in other words; the company file learns them below.
    WORDS: lambda good: good.replace(b'"order"', b'"ORDER_V2"'),
}


@pytest.mark.row("F14")
@pytest.mark.parametrize("log", ["valkey", "kafka"])
def test_poison_stops_nobody(log: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The consumer gets to the end, the night accounts for every entry, and a replay after the fix brings the rest."""
    url = request.getfixturevalue("broker").url if log == "kafka" else None
    ws = company(tmp_path, name="poisoned", log_url=url)
    sent = [event(event_id=str(number)) for number in range(EVENTS)]
    chance, expected = random.Random(14), Counter[str]()
    for count, place in enumerate(chance.sample(range(EVENTS), POISONED)):
        reason = list(POISON)[count % len(POISON)]
        sent[place] = POISON[reason](sent[place])
        expected[reason] += 1
    with event_log(ws) as stream:
        for first in range(0, EVENTS, PAGE):
            stream.append("transactions", sent[first : first + PAGE])
        stream.append("nobody", [sent[0]])
    expected["unknown_source"] += 1
    accepted, refused = consumed(ws)
    assert (accepted, refused) == (EVENTS - POISONED, expected)
    night(ws, DAY1)
    rows = ws.lake.read("quarantine/transactions").to_pylist() + ws.lake.read(DEAD_LETTERS).to_pylist()
    assert Counter(row["reason"] for row in rows) == expected
    assert len({row["position"] for row in rows}) == len(rows) == POISONED + 1
    assert max(len(json.dumps(row["raw"])) for row in rows) < 50_000
    assert ws.lake.rows("silver/transactions", partition="known_day") == EVENTS - POISONED

    mended = learn(ws)
    assert replay(mended, "transactions") == {"appended": expected[WORDS], "left": POISONED - expected[WORDS]}
    accepted, refused = consumed(mended)
    assert (accepted, refused) == (expected[WORDS], Counter())
    night(mended, DAY2)
    assert ws.lake.rows("silver/transactions", partition="known_day") == EVENTS - POISONED + expected[WORDS]
    assert ws.lake.rows("quarantine/transactions", partition="known_day") == POISONED
    replay(mended, "transactions")
    night(mended, date(2026, 5, 27))
    assert ws.lake.rows("silver/transactions", partition="known_day") == EVENTS - POISONED + expected[WORDS]


def consumed(ws: Workspace) -> tuple[int, Counter[str]]:
    """Apply the log as a consumer does, from where its group is to where its lag is 0; returns what the door said."""
    accepted, refused = 0, Counter[str]()
    with event_log(ws) as log, closing(Door(ws.company)) as door:
        while entries := log.read(log.committed("consumer"), PAGE):
            admitted = door.admit(entries)
            accepted += sum(rows.num_rows for rows in admitted.rows.values())
            refused.update(reason for _, reason in admitted.refused)
            log.commit("consumer", entries[-1].position)
        assert log.lag("consumer") == 0
    return accepted, refused


def night(ws: Workspace, day: date) -> None:
    """Run a night through the door."""
    at(ws, day.year, day.month, day.day + 1, 6)
    ingest(ws, day)
    gate(ws, day)


def learn(ws: Workspace) -> Workspace:
    """Teach the company file the words of the newer version."""
    path = ws.settings.company
    path.write_text(
        path.read_text().replace("[sources.columns]", '[sources.values.kind]\nORDER_V2 = "order"\n[sources.columns]')
    )
    return open_workspace(ws.settings, ws.clock)

"""Session state: concurrent turns, repeats, limits, expiry, restarts; and features that equal those of the facts."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from features.catalogue import standard
from features.compute import historical
from features.stream.conversation import Conversations, conversation_groups
from features.stream.turns import Conversation, Turn
from infra.clock import FixedClock, start_of
from infra.engine.open import open_engine
from infra.redis.embedded import embedded_server
from infra.settings import ROOT
from rapport_feast.errors import Rejected, Transient
from rapport_feast.row.address import OnlineStore
from rapport_feast.times import DAY
from serving.errors import UnknownConversation
from serving.forms.sessions import TurnBody
from serving.http.sessions import SessionEndpoints, read_turn
from serving.sessions.compiled import CompiledFeatures
from serving.sessions.store import Sessions
from tests.small_companies import NIGHT, deliver, source, workspace
from validation.bronze.ingest import ingest
from validation.gate.run import gate

pytestmark = pytest.mark.anyio
COLUMNS = ("event_id", "source_id", "event_time", "channel", "thread_id", "author_role", "visibility", "text", "action")
MORNING = start_of(NIGHT) + timedelta(hours=8)
TEXTS = (
    "This is BROKEN again!",
    "thank you, that was great",
    "I want my money back, write to jo@example.org",
    "call +49 30 1234567 " * 12,
    "",
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OnlineStore]:
    with embedded_server(tmp_path) as address:
        yield OnlineStore("127.0.0.1", address.port, "tiny", password=address.password)


@asynccontextmanager
async def opened(store: OnlineStore, *, compiled: bool = False, **options: Any) -> AsyncIterator[Sessions]:
    """Open the sessions of a store, compiled if wanted."""
    features = CompiledFeatures(lambda: Conversations(standard()))
    if compiled:
        await asyncio.wrap_future(features.start())
    sessions = Sessions(store, features, **({"deadline": 5.0} | options))
    try:
        yield sessions
    finally:
        await sessions.close()
        features.close()


def turn(number: int, **other: Any) -> TurnBody:
    told = {"turn_id": f"t{number:05}", "author_role": "customer", "text": f"turn {number}"}
    return TurnBody.model_validate(told | other)


def ids(turns: Any) -> list[str]:
    return [one.event_id for one in turns]


async def test_a_conversation_is_kept_and_forgotten(store: OnlineStore) -> None:
    async with opened(store, ttl=2) as sessions:
        with pytest.raises(UnknownConversation, match="one in progress, found 'c1'"):
            await sessions.session("c1")
        for number in range(4):
            assert (await sessions.append("c1", turn(number))).turns == number + 1
            await asyncio.sleep(0.8)
        kept = await sessions.session("c1")
        assert ids(kept.turns) == [f"t{number:05}" for number in range(4)], "each turn keeps all of them alive"
        assert 0 < kept.expires_in <= 2
        await asyncio.sleep(2.1)
        with pytest.raises(UnknownConversation):
            await sessions.session("c1")


async def test_a_turn_told_again_stands_once_and_another_under_its_id_is_refused(store: OnlineStore) -> None:
    async with opened(store) as sessions:
        assert (await sessions.append("c1", turn(1))).fresh
        again = await asyncio.gather(*(sessions.append("c1", turn(1)) for _ in range(20)))
        assert [(one.fresh, one.turns) for one in again] == [(False, 1)] * 20
        with pytest.raises(Rejected, match="'t00001' with other content"):
            await sessions.append("c1", turn(1, text="something else"))
        with pytest.raises(Rejected, match=r"^at: expected a time up to"):
            await sessions.append("c1", turn(2, at=datetime.now().astimezone() + DAY))
        assert [(one.event_id, one.text) for one in (await sessions.session("c1")).turns] == [("t00001", "turn 1")]


async def test_the_oldest_turns_go_beyond_the_limit(store: OnlineStore) -> None:
    async with opened(store, max_turns=10) as sessions:
        for number in range(25):
            await sessions.append("c1", turn(number))
        kept = await sessions.session("c1")
        assert ids(kept.turns) == [f"t{number:05}" for number in range(15, 25)]
        assert kept.ever == 25
        with store.client() as client:
            assert client.hlen("_session:tiny:c1") == 21


WRITER = """
import asyncio, sys
from rapport_feast.row.address import OnlineStore
from serving.forms.sessions import TurnBody
from serving.sessions.compiled import CompiledFeatures
from serving.sessions.store import Sessions

async def write(port, password, first, last):
    store = OnlineStore("127.0.0.1", port, "tiny", password=password)
    sessions = Sessions(store, CompiledFeatures(dict), max_turns=5000, deadline=5)
    turns = [TurnBody(turn_id=f"t{n:05}", author_role="customer", text=f"turn {n}") for n in range(first, last)]
    done = await asyncio.gather(*(sessions.append("c1", one) for one in turns))
    print(sum(one.fresh for one in done))
    await sessions.close()

asyncio.run(write(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""


@pytest.mark.row("R60")
async def test_two_processes_lose_nothing(store: OnlineStore) -> None:
    """Two writers of 1,000 turns each, 500 of which both tell; killed ones aside, each turn stands once."""
    spans = (("0", "1000"), ("500", "1500"))
    command = [sys.executable, "-c", WRITER, str(store.port), store.password or ""]
    writers = [
        subprocess.Popen(
            [*command, *span], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
        )
        for span in spans
    ]
    fresh = [int(writer.communicate(timeout=60)[0]) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert sum(fresh) == 1500
    async with opened(store) as sessions:
        kept = await sessions.session("c1")
    assert sorted(ids(kept.turns)) == [f"t{number:05}" for number in range(1500)]
    assert {one.text for one in kept.turns} == {f"turn {number}" for number in range(1500)}


@pytest.mark.row("R60")
async def test_a_conversation_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    kept = []
    for number in range(2):
        with embedded_server(tmp_path) as address:
            store = OnlineStore("127.0.0.1", address.port, "tiny", password=address.password)
            async with opened(store) as sessions:
                assert (await sessions.append("c1", turn(number))).turns == number + 1
                kept.append(await sessions.session("c1"))
    assert ids(kept[-1].turns) == ["t00000", "t00001"]
    assert 0 < kept[-1].expires_in <= 7200


async def test_a_silent_store_is_not_waited_for(store: OnlineStore) -> None:
    async with opened(store, deadline=0.25) as sessions:
        await sessions.append("c1", turn(1))
        with store.client() as client:
            pid = int(client.info("server")["process_id"])
        os.kill(pid, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            told = await asyncio.gather(
                *(sessions.append("c1", turn(number)) for number in range(40)), return_exceptions=True
            )
            assert all(isinstance(one, Transient) for one in told)
            assert time.monotonic() - begun < 2
        finally:
            os.kill(pid, signal.SIGCONT)
    async with opened(store) as sessions:
        assert not (await sessions.append("c1", turn(1))).fresh


@pytest.mark.row("R60")
async def test_features_equal_those_of_the_facts(store: OnlineStore, tmp_path: Path) -> None:
    """The same turns, once as a conversation in progress, once through the door and the live compiler."""
    chance = random.Random(3)
    rows = [_row(chance, number) for number in range(120)]
    ws = workspace(tmp_path, source("interactions", [*COLUMNS, "exported_at"]), threads=1)
    deliver(tmp_path, f"interactions-{NIGHT}.csv", rows, [*COLUMNS, "exported_at"])
    ingest(ws, NIGHT)
    gate(ws, NIGHT)
    asked = [(f"t{thread}", MORNING + timedelta(minutes=minutes)) for thread in range(3) for minutes in (65, 200, 610)]
    spine = pa.table(
        {
            "ticket_id": [thread for thread, _ in asked],
            "event_time": pa.array([at for _, at in asked], pa.timestamp("us", "UTC")),
            "known_at": pa.array([at for _, at in asked], pa.timestamp("us", "UTC")),
            "position": pa.array(range(len(asked)), pa.int64()),
        }
    )
    expected: list[dict[str, Any]] = [{} for _ in asked]
    with open_engine(ws, "duckdb") as engine:
        for group in conversation_groups(standard()):
            for row in historical.compute(ws, engine, group, spine).to_pylist():
                expected[row.pop("position")] |= row
    async with opened(store, compiled=True, clock=FixedClock(MORNING + DAY / 2)) as sessions:
        for row in rows:
            names = ("channel", "author_role", "visibility", "text", "action")
            told = {name: row[name] for name in names} | {"action": row["action"] or None, "text": row["text"] or None}
            at = datetime.fromisoformat(row["event_time"])
            await sessions.append(
                row["thread_id"], TurnBody.model_validate({"turn_id": row["event_id"], "at": at, **told})
            )
        kept = {thread: await sessions.session(thread) for thread, _ in asked}
        found = []
        for thread, at in asked:
            sessions.clock = FixedClock(at)
            found.append(await sessions.features(thread, kept[thread]))
    for one, truth, question in zip(found, expected, asked, strict=True):
        assert one == truth, question
    assert len(found[0]) == sum(len(group.outputs) for group in conversation_groups(standard())) > 25
    assert len({repr(one) for one in found}) == len(asked)
    masked = {one.text for conversation in kept.values() for one in conversation.turns if one.text}
    assert any("<email>" in text for text in masked)
    assert not any("@" in text or "1234567" in text for text in masked)


def _row(chance: random.Random, number: int) -> dict[str, str]:
    when = MORNING + timedelta(seconds=chance.randrange(36_000), microseconds=chance.randrange(1_000_000))
    role = chance.choice(("customer", "customer", "bot", "agent"))
    return {
        "event_id": f"e{number:03}",
        "source_id": "C1",
        "event_time": when.isoformat(),
        "channel": "chat",
        "thread_id": f"t{chance.randrange(3)}",
        "author_role": role,
        "visibility": "private" if role == "agent" and chance.random() < 0.3 else "public",
        "text": chance.choice(TEXTS),
        "action": "" if role == "customer" else chance.choice(("apologise", "hand_over", "")),
        "exported_at": when.isoformat(),
    }


def test_one_query_answers_many_conversations_as_it_does_one() -> None:
    now = 1_800_000_000_000_000
    asked = [
        Conversation(
            f"c{n}",
            [Turn(f"e{i}", now - i * 61_000_000 * n, "chat", "customer", "public", "broken!", None) for i in range(n)],
            now,
        )
        for n in range(1, 20)
    ]
    conversations = Conversations(standard())
    together = conversations.values(asked)
    assert together == [conversations.values([one])[0] for one in asked]
    assert [one["ticket__messages__60d"] for one in together] == list(range(1, 20))
    held = conversations.values([replace_turns(asked[0], now + 1)])
    assert held[0]["ticket__messages__60d"] == 0
    conversations.close()


def replace_turns(asked: Conversation, event_us: int) -> Conversation:
    return asked._replace(turns=[one._replace(event_us=event_us) for one in asked.turns])


def test_over_http(store: OnlineStore) -> None:
    features = CompiledFeatures(lambda: Conversations(standard()))
    sessions = Sessions(store, features, deadline=5.0)
    with TestClient(Starlette(routes=SessionEndpoints(lambda: sessions).routes)) as client:
        body = {"turn_id": "1", "author_role": "customer", "text": "It is broken, call +49 30 1234567!"}
        assert client.post("/v1/sessions/c1/turns", json=body).json() == {"fresh": True, "turns": 1}
        again = client.post("/v1/sessions/c1/turns", json=body)
        assert (again.status_code, again.json()) == (200, {"fresh": False, "turns": 1})
        with pytest.raises(Transient, match="still being compiled"):
            client.get("/v1/sessions/c1")
        features.start().result()
        told = client.get("/v1/sessions/c1").json()
        assert (told["conversation"], told["ever"]) == ("c1", 1)
        assert told["turns"][0]["text"] == "It is broken, call <phone>!"
        assert told["features"]["ticket__messages__1h"] == 1
        assert told["features"]["ticket__last_frustration__60d"] == 4
        with pytest.raises(UnknownConversation):
            client.get("/v1/sessions/c2")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"{", "body: expected a JSON object"),
        (b"[]", "body: expected a JSON object"),
        (b'{"turn_id": "1"}', "author_role: expected a valid turn"),
        (b'{"turn_id": 1, "author_role": "bot"}', "turn_id: expected a valid turn"),
        (b'{"turn_id": "1", "author_role": "robot"}', "author_role: expected a valid turn"),
        (b'{"turn_id": "1", "author_role": "bot", "at": "2026-01-01T00:00:00"}', "at: expected a valid turn"),
        (b'{"turn_id": "1", "author_role": "bot", "at": 5}', "at: expected a valid turn"),
        (b'{"turn_id": "1", "author_role": "bot", "more": 5}', "more: expected a valid turn"),
        (b'{"turn_id": "1", "author_role": "bot", "text": "%s"}' % (b"x" * 10_001), "text: expected a valid turn"),
    ],
)
def test_a_turn_that_is_none_is_refused(body: bytes, fault: str) -> None:
    with pytest.raises(Rejected, match=f"^{fault}"):
        read_turn(body)


def test_a_group_that_reads_what_no_turn_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from features.declare.terms import col
    from features.stream import conversation

    odd = replace(conversation_groups(standard())[0], name="odd", where=col("source_id") == "x")
    monkeypatch.setattr(conversation, "conversation_groups", lambda _: (odd,))
    with pytest.raises(Rejected, match="group odd: expected columns that a turn has, found source_id"):
        Conversations(standard())

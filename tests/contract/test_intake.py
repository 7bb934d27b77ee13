"""Events over HTTP: judged, durable when acknowledged, on disk while the log is away, in their order afterwards."""

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from starlette.testclient import TestClient

from infra.log.event_log import Entry
from infra.log.open import event_log
from infra.workspace import Workspace
from rapport_feast.errors import Transient
from serving.errors import MalformedBody, SpoolUnusable
from serving.http.app import create_app
from serving.intake.events import split_events
from serving.intake.intake import Intake
from serving.intake.spool import SPOOL_FILE, Spool
from tests.contract.test_event_log import valkey_pid
from tests.streamed_companies import EVENT, company, event, streamed

WITHIN = 15.0


@contextmanager
def service(ws: Workspace) -> Iterator[TestClient]:
    """Run the service of a company, until its intake is open."""
    with TestClient(create_app(ws)) as client:
        until(lambda: client.post("/v1/events/transactions", content=b"{").status_code != 503)
        yield client


def until(done: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + WITHIN
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def logged(ws: Workspace) -> list[Entry]:
    """Return what the log holds."""
    with event_log(ws) as log:
        return log.read(0, 10_000)


@pytest.mark.row("R59")
def test_events_are_in_the_log_when_they_are_acknowledged(tmp_path: Path) -> None:
    """One, an array, JSON lines: byte for byte as they came, at the positions that the answer names."""
    ws = company(tmp_path)
    one, two = event(event_id="one", amount_minor=5).replace(b"5}", b"5.0}"), event(event_id="two")
    with service(ws) as client:
        bodies = [one, b"[" + one + b",\n " + two + b"]", one + b"\n" + two + b"\n"]
        answers = [client.post("/v1/events/transactions", content=body) for body in bodies]
        assert [answer.status_code for answer in answers] == [202] * 3
        told = [answer.json() for answer in answers]
        assert [(found["accepted"], found["spooled"], found["refused"]) for found in told] == [
            (1, False, []), (2, False, []), (2, False, []),
        ]  # fmt: skip
        entries = logged(ws)
    assert [entry.payload for entry in entries] == [one, one, two, one, two]
    assert [entry.position for entry in entries] == [place for found in told for place in found["positions"]]


def test_what_the_gate_would_refuse_is_refused_with_its_reason(tmp_path: Path) -> None:
    """Row by row: the good ones of a request go in."""
    ws = company(tmp_path)
    body = b"\n".join([event(), b"{", event(kind="gift"), event(event_id="2"), event(amount_minor="?")])
    with service(ws) as client:
        answer = client.post("/v1/events/transactions", content=body)
        assert answer.status_code == 422
        assert answer.json()["refused"] == [
            {"row": 1, "reason": "unparsable:row:not_json"},
            {"row": 2, "reason": "unknown:kind"},
            {"row": 4, "reason": "unparsable:amount_minor"},
        ]
        assert (answer.json()["accepted"], len(answer.json()["positions"])) == (2, 2)
        assert answer.json()["error"] == {"message": "3 of 5 events were refused."}
        assert [entry.payload for entry in logged(ws)] == [event(), event(event_id="2")]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("nobody", b"{}", 404, "source: expected a streamed one: transactions, found nobody."),
        ("transactions", b"", 400, "body: expected 1 to 10,000 events, found 0."),
        ("transactions", b"{}\n" * 10_001, 400, "found 10001"),
        ("transactions", b" " * 1_000_001, 413, "at most 1000000 bytes"),
        ("transactions", b"[" * 100_000, 422, "1 of 1 events were refused"),
    ],
)
def test_what_is_no_request(path: str, body: bytes, status: int, said: str, tmp_path: Path) -> None:
    """One clear sentence each, and nothing in the log."""
    ws = company(tmp_path)
    with service(ws) as client:
        answer = client.post(f"/v1/events/{path}", content=body)
        assert (answer.status_code, said in answer.json()["error"]["message"]) == (status, True)
        assert logged(ws) == []


def test_the_form_of_events_and_of_answers_is_published(tmp_path: Path) -> None:
    """The schema of a source by GET; what POST answers is in the form of the OpenAPI page."""
    ws = company(tmp_path)
    with service(ws) as client:
        schema = client.get("/v1/events/transactions").json()
        jsonschema.validate(dict(EVENT), schema)
        assert "currency" in schema["required"]
        assert client.get("/v1/events/nobody").status_code == 404
        page = client.get("/openapi.json").json()
        for path, body in (("transactions", event()), ("transactions", b"{"), ("nobody", b"{}"), ("transactions", b"")):
            answer = client.post(f"/v1/events/{path}", content=body)
            described = page["paths"]["/v1/events/{source}"]["post"]["responses"][str(answer.status_code)]
            form = described["content"]["application/json"]["schema"] | {"components": page["components"]}
            jsonschema.validate(answer.json(), form)


def test_a_company_without_streams_has_no_intake(tmp_path: Path) -> None:
    """And starts no log."""
    ws = company(tmp_path, streamed().replace('adapter = "log"', 'adapter = "csv"\npath = "x-{night}.csv"'))
    with TestClient(create_app(ws)) as client:
        assert client.post("/v1/events/transactions", content=event()).status_code == 404
    assert not (ws.root / "log").exists()
    assert not (ws.root / "spool").exists()


def test_the_embedded_log_is_started_again_when_it_was_killed(tmp_path: Path) -> None:
    """Nothing that was acknowledged before, in between or afterwards is lost; the order stays."""

    ws = company(tmp_path)
    with service(ws) as client:
        sent = [event(event_id=f"{number}") for number in range(30)]
        for number, payload in enumerate(sent):
            if number == 10:
                os.kill(valkey_pid(ws), 9)
            assert client.post("/v1/events/transactions", content=payload).status_code == 202
        until(lambda: distinct(logged(ws)) == sent)


def distinct(entries: list[Entry]) -> list[bytes]:
    """Return payloads in the order in which each came first."""
    return list(dict.fromkeys(entry.payload for entry in entries))


def test_a_process_takes_over_what_a_killed_one_left(tmp_path: Path) -> None:
    """The spool of a service that died without the log, in the middle of a write that was never acknowledged."""
    ws = company(tmp_path)
    dead = multiprocessing.get_context("spawn").Process(target=die_while_spooling, args=(ws.folder("spool"),))
    dead.start()
    dead.join()
    assert dead.exitcode == -signal.SIGKILL
    with service(ws):
        until(lambda: len(logged(ws)) == 3)
    assert [entry.payload for entry in logged(ws)] == [event(event_id=str(number)) for number in (1, 2, 3)]
    assert len(Spool(ws.folder("spool"))) == 0


def die_while_spooling(folder: Path) -> None:
    """Acknowledge three events, and be killed between the write of a fourth and its commit."""
    spool = Spool(folder)
    spool.add([("transactions", event(event_id="1")), ("transactions", event(event_id="2"))])
    spool.add([("transactions", event(event_id="3"))])
    with spool._transaction():
        spool._db.execute("INSERT INTO event (source, payload) VALUES ('transactions', x'00')")
        os.kill(os.getpid(), signal.SIGKILL)


def test_processes_share_one_spool_in_one_order(tmp_path: Path) -> None:
    """What one drained the other need not, and a drained spool leaves no event on disk."""
    one, other = Spool(tmp_path), Spool(tmp_path)
    for number in range(6):
        (one, other)[number % 2].add([("s", b"canary %d" % number)])
    first = one.first()
    assert first is not None
    assert (first, len(other)) == ((6, [("s", b"canary %d" % number) for number in range(6)]), 48)
    one.done(first[0])
    other.done(first[0])
    assert (len(one), len(other), other.first()) == (0, 0, None)
    assert not any(b"canary" in path.read_bytes() for path in tmp_path.iterdir())
    one.close()
    other.close()


def test_a_spool_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    """A file that is no database; and a disk that is full while it is written."""
    (tmp_path / SPOOL_FILE).write_bytes(b"no database" * 100)
    with pytest.raises(SpoolUnusable, match="file is not a database"):
        Spool(tmp_path)
    (tmp_path / SPOOL_FILE).unlink()
    spool = Spool(tmp_path)
    spool._db.execute("PRAGMA max_page_count = 20")
    with pytest.raises(SpoolUnusable, match="database or disk is full"):
        spool.add([("s", b"x" * 1_000_000)])
    assert (len(spool), spool.first()) == (0, None)
    spool.close()


def test_a_spool_keeps_order_and_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    """The bound is of bytes, and given back when the log has them."""
    spool = Spool(tmp_path, limit=10_000_000)
    sent = [("s", b"%07d" % number * 200_000) for number in range(7)]
    for record in sent[:6]:
        spool.add([record])
    with pytest.raises(Transient, match="the spool holds all of its 10,000,000 bytes"):
        spool.add([sent[6], sent[6]])
    found = []
    while (first := spool.first()) is not None:
        found += first[1]
        spool.done(first[0])
        if len(found) == 3:
            spool.add([sent[6]])
    assert found == sent
    assert (len(spool), spool.first()) == (0, None)
    spool.close()


def test_a_full_spool_is_said(tmp_path: Path) -> None:
    """With 503, and nothing of the request was taken."""
    away = company(tmp_path, log_url="redis://127.0.0.1:1/0")

    async def run() -> list[Any]:
        intake = Intake(away, spool_bytes=1000)
        intake.start()
        found: list[Any] = []
        for number in range(12):
            try:
                found.append(await intake.take("transactions", event(event_id=str(number))))
            except Transient as error:
                found.append(str(error))
                await asyncio.sleep(0.3 if "opening" in str(error) else 0)
        await intake.close()
        return found

    found = [one for one in asyncio.run(run()) if "opening" not in one]
    assert found[0] == (202, {"accepted": 1, "positions": [], "spooled": True, "refused": []})
    assert found[-1] == "The event log is away and the spool holds all of its 1,000 bytes."


@pytest.mark.parametrize("body", [b"[1,]", b"[1 2]", b"[1]x", b"[1", b"[]"])
def test_an_array_that_is_none_is_one_broken_event(body: bytes) -> None:
    """Nothing is guessed into it."""
    assert split_events(body) == [body]


def test_a_body_without_events() -> None:
    """It is malformed."""
    with pytest.raises(MalformedBody):
        split_events(b" \n\n ")

"""The short way of lookups through HTTP: what takes it, what does not, and that neither is out of turn."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from serving.http.protocol import MAX_DIRECT_BYTES, RawResponse, protocol_factory
from serving.http.responses import JSON_HEADERS

PATH = "/lookup"
IDLE_SECONDS = 0.6


async def answer(body: bytes) -> RawResponse:
    """Answer by the short way: what was asked, after as many milliseconds as it says."""
    if body == b"broken":
        raise ValueError(body)
    await asyncio.sleep(int(body[:3] or 0) / 1000 if body[:3].isdigit() else 0)
    return b"direct:" + body, 418 if body == b"wrong" else 200, JSON_HEADERS


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """Answer by uvicorn's way."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    content = b"asgi:" + scope["path"].encode() + b":" + (body if len(body) < 99 else b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]})
    await send({"type": "http.response.body", "body": content})


@contextmanager
def served() -> Iterator[tuple[uvicorn.Server, int]]:
    config = uvicorn.Config(
        asgi,
        http=protocol_factory(PATH, answer),  # type: ignore[arg-type]
        loop="uvloop",
        lifespan="off",
        log_level="critical",
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,  # type: ignore[arg-type]
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield server, listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with served() as (_, number):
        yield number


def request(body: bytes, path: str = PATH, method: str = "POST", version: str = "1.1", **headers: str) -> bytes:
    told = {"Host": "x", "Content-Length": str(len(body))} | {k.replace("_", "-"): v for k, v in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value)
    return f"{method} {path} HTTP/{version}\r\n{lines}\r\n".encode() + body


class Client:
    """A connection that reads answers one by one."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.file = self.socket.makefile("rb")

    def ask(self, *parts: bytes, pause: float = 0.0) -> tuple[int, dict[str, str], bytes]:
        for part in parts:
            self.socket.sendall(part)
            time.sleep(pause)
        return self.read()

    def read(self) -> tuple[int, dict[str, str], bytes]:
        status = int(self.file.readline().split()[1])
        headers: dict[str, str] = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(": ")
            assert name.lower() not in headers
            headers[name.lower()] = value
        return status, headers, self.file.read(int(headers.get("content-length", 0)))

    def is_closed(self) -> bool:
        return self.file.read(1) == b""

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def client(port: int) -> Iterator[Client]:
    made = Client(port)
    yield made
    made.close()


def test_a_lookup_takes_the_short_way(client: Client) -> None:
    for body in (b"one", b"", b"wrong", b"two"):
        status, headers, content = client.ask(request(body))
        assert (status, content) == (418 if body == b"wrong" else 200, b"direct:" + body)
        assert headers["content-type"] == "application/json"
        assert set(headers) == {"date", "content-type", "content-length"}


def test_in_how_many_pieces_it_comes_makes_no_difference(client: Client) -> None:
    whole = request(b"in pieces")
    assert (
        client.ask(*(whole[place : place + 1] for place in range(len(whole))), pause=0.0005)[2] == b"direct:in pieces"
    )
    assert client.ask(whole[:-4], whole[-4:], pause=0.05)[2] == b"direct:in pieces"


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (request(b"1", "/other"), b"asgi:/other:1"),
        (request(b"1", PATH + "?a=b"), b"asgi:/lookup:1"),
        (request(b"1", method="PUT"), b"asgi:/lookup:1"),
        (request(b"1", version="1.0"), b"asgi:/lookup:1"),
        (request(b"x" * (MAX_DIRECT_BYTES + 1)), b"asgi:/lookup:%d" % (MAX_DIRECT_BYTES + 1)),
        (request(b"2\r\nab\r\n0\r\n\r\n", Content_Length="", Transfer_Encoding="chunked"), b"asgi:/lookup:ab"),
    ],
    ids=["path", "query", "method", "version", "size", "chunked"],
)
def test_what_is_unusual_takes_uvicorns(client: Client, raw: bytes, told: bytes) -> None:
    assert client.ask(raw)[2] == told


def test_the_largest_is_whole(client: Client) -> None:
    assert client.ask(request(b"x" * MAX_DIRECT_BYTES))[2] == b"direct:" + b"x" * MAX_DIRECT_BYTES


def test_who_expects_to_be_told_to_go_on_is_told(client: Client) -> None:
    raw = request(b"body", Expect="100-continue")
    assert client.ask(raw[:-4])[0] == 100
    assert client.ask(raw[-4:])[2] == b"asgi:/lookup:body"


def test_requests_that_come_together_are_answered_in_their_order(client: Client) -> None:
    """The slow one first, whichever way each takes."""
    asked = [request(b"200"), request(b"000"), request(b"1", "/other"), request(b"020"), request(b"2", "/other")]
    answers = [client.ask(b"".join(asked))[2], *(client.read()[2] for _ in asked[1:])]
    assert [told.rpartition(b":")[2] for told in answers] == [b"200", b"000", b"1", b"020", b"2"]
    assert answers[0] == b"direct:200"
    assert client.ask(request(b"after"))[2] == b"direct:after"
    together = client.ask(request(b"1", "/other") + request(b"3"))[2], client.read()[2]
    assert together == (b"asgi:/other:1", b"asgi:/lookup:3")


def test_the_last_request_of_a_connection_closes_it(client: Client) -> None:
    status, headers, content = client.ask(request(b"last", Connection="close"))
    assert (status, headers["connection"], content) == (200, "close", b"direct:last")
    assert client.is_closed()


def test_a_fault_of_ours_is_a_500_and_the_connection_lives(client: Client) -> None:
    assert client.ask(request(b"broken"))[0] == 500
    assert client.ask(request(b"next"))[2] == b"direct:next"


@pytest.mark.parametrize("raw", [b"nonsense\r\n\r\n", b"POST /lookup HTTP/1.1\r\nContent-Length: -1\r\n\r\n"])
def test_what_is_no_http_is_refused(client: Client, raw: bytes) -> None:
    assert client.ask(raw)[0] == 400
    assert client.is_closed()


def test_two_lengths_are_refused(client: Client) -> None:
    """Whoever stands before us must not read another request than we do."""
    raw = b"POST /lookup HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"
    assert client.ask(raw)[0] == 400
    both = b"POST /lookup HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    other = Client(client.socket.getpeername()[1])
    assert other.ask(both)[0] == 400
    other.close()


def test_who_leaves_early_is_no_trouble(port: int) -> None:
    for _ in range(20):
        gone = Client(port)
        gone.socket.sendall(request(b"050"))
        gone.close()
    time.sleep(0.15)
    left = Client(port)
    assert left.ask(request(b"still there"))[2] == b"direct:still there"
    left.close()


def test_an_idle_connection_is_closed_and_a_busy_one_is_not(port: int) -> None:
    idle, busy, waiting = Client(port), Client(port), Client(port)
    waiting.socket.sendall(request(b"999"))
    begun = time.monotonic()
    for number in range(6):
        path = ("/other", PATH)[number % 2]
        assert busy.ask(request(b"x", path))[0] == 200
        time.sleep(IDLE_SECONDS / 4)
    assert idle.is_closed()
    assert waiting.read()[2] == b"direct:999"
    assert busy.is_closed()
    assert time.monotonic() - begun >= IDLE_SECONDS * 2
    for one in (idle, busy, waiting):
        one.close()


def test_at_the_end_what_was_asked_is_answered() -> None:
    with served() as (server, port):
        last, quiet = Client(port), Client(port)
        assert quiet.ask(request(b"before"))[0] == 200
        last.socket.sendall(request(b"400"))
        time.sleep(0.1)
        server.should_exit = True
        status, headers, content = last.read()
        assert (status, headers["connection"], content) == (200, "close", b"direct:400")
        assert last.is_closed()
        assert quiet.is_closed()
        last.close()
        quiet.close()

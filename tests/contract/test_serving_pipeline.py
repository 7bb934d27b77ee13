"""The pipelined connections to the online store: order, deadline, bulkhead, login, and what no reply can be."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rapport_feast.resp import encode_command
from serving.lookup.connection import StoreTimeout, StoreUnreachable, TooManyReads, UnreadableReply
from serving.lookup.connection_pool import ConnectionPool
from tests.faults.proxy import Proxy, Weather, proxy
from tests.faults.serving_load import Server, server

PATIENT = 2.0
"""Seconds to answer where the deadline is not what is tested."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("server")) as one:
        raw: Any = one.store.client()
        for number in range(500):
            raw.hset(f"k{number}", "f", str(number))
        yield one


@pytest.fixture
def between(store: Server) -> Iterator[Proxy]:
    with proxy(store.port) as one:
        yield one


def run(pool: Callable[[], ConnectionPool], work: Callable[[ConnectionPool], Awaitable[None]]) -> None:
    """Do something with a pool that stands."""

    async def whole() -> None:
        one = pool()
        one.start()
        try:
            assert await one.wait(5)
            await work(one)
        finally:
            await one.close()

    asyncio.run(whole())


def ask(pool: ConnectionPool, number: int) -> "asyncio.Future[list[Any]]":
    return pool.call(encode_command(("HMGET", f"k{number}", "f")), 1, 1)


def test_every_call_gets_its_own_reply(store: Server) -> None:
    async def work(pool: ConnectionPool) -> None:
        for _ in range(20):
            answers = await asyncio.gather(*(ask(pool, number) for number in range(500)))
            assert answers == [[[str(number).encode()]] for number in range(500)]

    run(lambda: ConnectionPool(store.store, deadline=PATIENT), work)


@pytest.mark.row("F3")
def test_a_late_reply_reaches_nobody(store: Server, between: Proxy) -> None:
    """A call gives up; the reply arrives later and must not be taken for that of the next call."""

    async def work(pool: ConnectionPool) -> None:
        between.weather = Weather(delay=0.15)
        begun = asyncio.get_running_loop().time()
        with pytest.raises(StoreTimeout):
            await ask(pool, 1)
        assert 0.08 <= asyncio.get_running_loop().time() - begun < 0.3
        between.weather = Weather()
        for number in range(2, 40):
            assert await pool.wait(5)
            assert await ask(pool, number) == [[str(number).encode()]]
            await asyncio.sleep(0.01)
        assert pool.discarded == {"late": 1}

    run(lambda: ConnectionPool(replace(store.store, port=between.port), connections=1), work)


@pytest.mark.row("F2")
def test_beyond_the_bulkhead_a_call_fails_at_once(store: Server, between: Proxy) -> None:
    async def work(pool: ConnectionPool) -> None:
        between.weather = Weather(freeze=True)
        first = [ask(pool, number) for number in range(3)]
        with pytest.raises(TooManyReads):
            ask(pool, 3)
        assert pool.in_flight == 3
        between.weather = Weather()
        assert await asyncio.gather(*first) == [[[b"0"]], [[b"1"]], [[b"2"]]]
        assert (pool.in_flight, pool.refused) == (0, 1)
        assert await ask(pool, 3) == [[b"3"]]

    run(lambda: ConnectionPool(replace(store.store, port=between.port), max_in_flight=3, deadline=PATIENT), work)


@pytest.mark.row("F3")
def test_a_call_avoids_the_connection_that_is_slow(store: Server, between: Proxy) -> None:
    async def work(pool: ConnectionPool) -> None:
        await asyncio.sleep(0.3)
        between.weather = Weather(freeze=True)
        stuck = ask(pool, 1)
        await asyncio.sleep(0.02)
        between.weather = Weather()
        answers = await asyncio.gather(*(ask(pool, number) for number in range(2, 9)))
        assert answers == [[[str(number).encode()]] for number in range(2, 9)]
        assert await stuck == [[b"1"]]

    run(lambda: ConnectionPool(replace(store.store, port=between.port), deadline=PATIENT), work)


@pytest.mark.row("F1")
def test_without_a_server_calls_fail_at_once_and_the_circuit_is_open(store: Server, between: Proxy) -> None:
    async def work(pool: ConnectionPool) -> None:
        between.weather = Weather(refuse=True)
        between.cut()
        while pool.is_connected:
            await asyncio.sleep(0.01)
        begun = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnreachable):
            ask(pool, 1)
        assert asyncio.get_running_loop().time() - begun < 0.02
        assert pool.breaker in ("open", "half-open")
        between.weather = Weather()
        assert await pool.wait(5)
        assert (pool.breaker, await ask(pool, 1)) == ("closed", [[b"1"]])

    run(lambda: ConnectionPool(replace(store.store, port=between.port)), work)


def test_a_login_and_a_database_are_kept(store: Server) -> None:
    raw: Any = store.store.client()
    raw.acl_setuser("reader", enabled=True, passwords=["+p ss"], keys=["*"], commands=["+@all"])
    other = replace(store.store, username="reader", password="p ss", db=3)
    there: Any = other.client()
    there.hset("k1", "f", "three")

    async def work(pool: ConnectionPool) -> None:
        assert await ask(pool, 1) == [[b"three"]]

    run(lambda: ConnectionPool(other), work)


def test_a_wrong_password_is_no_connection(store: Server) -> None:
    async def whole() -> None:
        pool = ConnectionPool(replace(store.store, username="nobody", password="wrong"))
        pool.start()
        assert not await pool.wait(0.5)
        await pool.close()

    asyncio.run(whole())


NONSENSE = {
    "no protocol": b"\xff\xff\xff\r\n",
    "another length": b"*2\r\n$1\r\na\r\n$1\r\nb\r\n",
    "no list": b"+OK\r\n",
    "one too many": b"*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n",
}


@pytest.mark.row("F4")
@pytest.mark.parametrize("kind", NONSENSE)
def test_what_no_reply_can_be_costs_the_connection(kind: str) -> None:
    """A server of our own answers PING, and then something else."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while told := await reader.read(1000):
            writer.write(b"+PONG\r\n" if b"PING" in told else NONSENSE[kind])
        writer.close()

    async def whole() -> None:
        listener = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        pool = ConnectionPool(replace(Server(Path()).store, port=port), connections=1)
        pool.start()
        assert await pool.wait(5)
        call = ask(pool, 1)
        if kind == "one too many":
            assert await call == [[b"a"]], "the first one is a reply; the second one belongs to nobody"
        else:
            with pytest.raises(UnreadableReply):
                await call
        while not pool.discarded:
            await asyncio.sleep(0.01)
        assert pool.discarded == {"garbage": 1}
        await pool.close()
        listener.close()

    asyncio.run(whole())

"""The embedded online store is killed (SIGKILL): the next user starts it again with everything that was written."""

import os
import signal
from pathlib import Path

import pytest
import redis

from infra.company.company import Company
from infra.redis.embedded import server_runs
from infra.redis.online_store import online_store
from infra.settings import Settings
from infra.workspace import Workspace
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.keys import entity_key, feature_field
from rapport_feast.value_form import encode_value

KEYS = 2000


def workspace(home: Path) -> Workspace:
    return Workspace(Settings(home=home), Company(name="small", title="small", sources=()))


def write(store: OnlineStore, numbers: range) -> None:
    """Write one feature of each customer, 100 customers at a time."""
    with store.client() as client:
        for first in range(numbers.start, numbers.stop, 100):
            with client.pipeline(transaction=False) as pipe:
                for i in range(first, min(first + 100, numbers.stop)):
                    key = entity_key("small", {"customer_id": ("string", f"C{i:06d}")})
                    pipe.hset(key, feature_field("orders", "count"), encode_value("int64", i))
                pipe.execute()


def kill(store: OnlineStore) -> None:
    with store.client() as client:
        os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)


def test_killed_after_a_thousand_keys_it_ends_like_an_undisturbed_run(tmp_path):
    with online_store(workspace(tmp_path / "calm")) as store:
        write(store, range(KEYS))
        undisturbed = store.digest()
    ws = workspace(tmp_path / "killed")
    with online_store(ws) as store:
        write(store, range(1000))
        kill(store)
        with pytest.raises(redis.ConnectionError):
            write(store, range(1000, KEYS))
        with online_store(ws) as again:
            assert (again.port, again.count()) == (store.port, 1000)
            write(again, range(KEYS))
            assert again.digest() == undisturbed
        assert store.count() == KEYS, "the first user goes on with the server that the second one started"
    assert not server_runs(ws.folder("valkey"))


def test_killed_without_a_user_it_starts_again_with_its_values(tmp_path):
    ws = workspace(tmp_path)
    with online_store(ws) as store:
        write(store, range(100))
        kill(store)
    with online_store(ws) as store:
        assert store.count() == 100


def test_a_torn_record_and_a_torn_tail_do_not_stop_it(tmp_path):
    ws = workspace(tmp_path)
    with online_store(ws) as store:
        write(store, range(100))
        kill(store)
    folder = ws.folder("valkey")
    (folder / "server.json").write_text('{"port": 1')
    tail = next((folder / "data").glob("**/*.incr.aof"))
    tail.write_bytes(tail.read_bytes()[:-7])
    with online_store(ws) as store:
        assert store.count() == 99

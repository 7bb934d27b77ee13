"""The online store's address, its project's keys, and the embedded server that users share."""

import subprocess
import sys
from pathlib import Path

import pytest
from redis.connection import parse_url

from infra.company.company import Company
from infra.redis.embedded import server_binary, server_runs
from infra.redis.online_store import online_store, online_store_at
from infra.settings import Settings
from infra.workspace import Workspace
from rapport_feast.errors import Rejected, Transient
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.keys import entity_key, project_of


def workspace(home: Path, name: str = "small", redis_url: str | None = None) -> Workspace:
    return Workspace(Settings(home=home, redis_url=redis_url), Company(name=name, title=name, sources=()))


def key(customer: str, project: str = "small") -> bytes:
    return entity_key(project, {"customer_id": ("string", customer)})


@pytest.mark.parametrize("other", [b"", b"x", b"\1\0\0\0", b"stream:events", b"\xff\xff\xff\xff" + b"a" * 40])
def test_other_keys_are_of_no_project(other):
    assert project_of(other) is None


def test_a_project_is_read_from_the_key_and_not_from_its_last_letters():
    assert project_of(key("C1", "ashop")) == b"ashop"
    assert project_of(key("C1a", "shop")) == b"shop"


def test_first_starts_second_joins_last_shuts_down(tmp_path):
    ws = workspace(tmp_path)
    with online_store(ws) as first:
        with online_store(ws) as second:
            assert second == first
        assert first.client().ping()
        assert server_runs(ws.folder("valkey"))
    assert not server_runs(ws.folder("valkey"))


def test_the_values_outlive_the_server(tmp_path):
    ws = workspace(tmp_path)
    with online_store(ws) as store:
        store.client().hset(key("C1"), "a", "1")
        before = store.digest()
    with online_store(ws) as store:
        assert (store.count(), store.digest()) == (1, before)


def test_processes_share_one_server(tmp_path):
    program = (
        "import sys, pathlib; from tests.unit.test_online import workspace, key\n"
        "from infra.redis.online_store import online_store\n"
        "with online_store(workspace(pathlib.Path(sys.argv[1]))) as store:\n"
        "    store.client().hset(key(sys.argv[2]), 'a', '1')\n"
        "    print(store.port)\n"
    )
    ws = workspace(tmp_path)
    with online_store(ws) as store:
        children = [
            subprocess.Popen([sys.executable, "-c", program, str(tmp_path), f"C{i}"], stdout=subprocess.PIPE, text=True)
            for i in range(3)
        ]
        assert {child.communicate(timeout=60)[0].strip() for child in children} == {str(store.port)}
        assert store.count() == 3


def test_digest_and_count_are_of_this_project_only(tmp_path):
    with online_store(workspace(tmp_path)) as store:
        client = store.client()
        client.hset(key("C1"), mapping={"a": "1", "b": "2"})
        alone = store.digest()
        client.hset(key("C1", "asmall"), "a", "3")
        client.hset(key("C1", "other"), "a", "3")
        client.set("something", "small")
        assert (store.count(), store.digest()) == (1, alone)
        client.hset(key("C1"), "b", "3")
        assert store.digest() != alone


def test_count_by_prefix(tmp_path):
    with online_store(workspace(tmp_path)) as store:
        store.client().hset(key("C1"), "a", "1")
        store.client().hset(entity_key("small", {"ticket_id": ("string", "T1")}), "a", "1")
        assert (store.count(), store.count(key("C1")[:20])) == (2, 1)


def test_the_password_is_asked_for_and_never_shown(tmp_path):
    with online_store(workspace(tmp_path)) as store:
        assert store.password
        assert store.password not in repr(store)
        assert not OnlineStore(store.host, store.port, "small").answers()
        assert (tmp_path / "small" / "valkey" / "server.json").stat().st_mode & 0o077 == 0


def test_the_url_says_what_the_parts_say():
    store = OnlineStore("cache", 6380, "small", "ada", "p@ss:/ word", 3, tls=True)
    parts = parse_url(store.url)
    found = [parts[name] for name in ("host", "port", "username", "password", "db")]
    assert found == ["cache", 6380, "ada", "p@ss:/ word", 3]
    assert store.url.startswith("rediss://")


def test_a_server_by_url_is_used_and_left_running(tmp_path):
    with online_store(workspace(tmp_path)) as embedded:
        with online_store(workspace(tmp_path / "other", redis_url=embedded.url)) as store:
            assert (store.host, store.port, store.project) == (embedded.host, embedded.port, "small")
            store.client().hset(key("C1"), "a", "1")
        assert embedded.count() == 1


@pytest.mark.parametrize(
    "url",
    ["localhost:6379", "http://localhost", "redis://:6379", "redis://localhost:port/0", "redis://:a,b@localhost:1"],
)
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(Rejected, match="RAPPORT_REDIS_URL"):
        online_store_at(url, "small")


def test_a_wrong_password_is_refused(tmp_path):
    with online_store(workspace(tmp_path)) as store, pytest.raises(Rejected, match="RAPPORT_REDIS_URL"):
        online_store_at(f"redis://:wrong@127.0.0.1:{store.port}/0", "small")


def test_a_silent_address_is_transient():
    with pytest.raises(Transient, match=r"127\.0\.0\.1:1 does not answer"):
        online_store_at("redis://127.0.0.1:1/0", "small")


def test_the_wheel_carries_a_server():
    assert subprocess.run([server_binary(), "--version"], capture_output=True, check=True).stdout.startswith(b"Valkey")

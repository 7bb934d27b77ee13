"""A process that forks children which run a step of the ring, and kills them when it is told to.

Nothing of the lake or the online store is opened before the fork, so a child inherits no handle; but everything is
imported, also what libraries import late, so it begins at once. Each line on stdin is a step, a night, a number of
seconds and the largest file that may be written (-1: any); the answer is how the child ended.
"""

import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from importlib import import_module

from features.compute.build import build
from features.store.publish import publish
from infra.clock import parse_night
from infra.workspace import Workspace, open_workspace
from rapport_feast.errors import Transient

TICK = 0.0005
TRANSIENT = 75


def both(ws: Workspace, night: date) -> None:
    """Build and publish a night."""
    build(ws, night)
    publish(ws, night)


STEPS: dict[str, Callable[[Workspace, date], object]] = {"build": build, "publish": publish, "both": both}


def modules(ws: Workspace, night: date) -> list[str]:
    """Return the modules that a step needs beyond those that are imported, as a child finds them."""
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        both(ws, night)
        os.write(writer, " ".join(sys.modules).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as told:
        names = told.read().split()
    os.waitpid(pid, 0)
    return [name for name in names if name not in sys.modules]


def child(step: str, ws: Workspace, night: date, largest: int) -> int:
    """Fork a child that runs a step and may write files up to a size; its exit code is 75 or 1 if it raised."""
    pid = os.fork()
    if pid:
        return pid
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        STEPS[step](ws, night)
    except BaseException as error:  # noqa: BLE001 - a forked child must not return into its parent's loop
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(TRANSIENT if isinstance(error, Transient) else 1)
    os._exit(0)


def ended(pid: int, seconds: float) -> tuple[str, float]:
    """Wait for a child, kill it (SIGKILL) after some seconds, and return how it ended and after how long."""
    began = time.monotonic()
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        taken = time.monotonic() - began
        if done:
            return f"exit {os.waitstatus_to_exitcode(status)}", taken
        if taken >= seconds:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            return f"exit {os.waitstatus_to_exitcode(status)}", taken
        time.sleep(TICK)


def main() -> None:
    """Serve one line after another."""
    ws = open_workspace()
    for name in modules(ws, parse_night(sys.argv[1])):
        with suppress(ImportError):
            import_module(name)
    gc.freeze()  # or the first collection in each child would copy all of the memory that it shares
    print("ready", flush=True)
    for line in sys.stdin:
        step, night, seconds, largest = line.split()
        how, taken = ended(child(step, ws, parse_night(night), int(largest)), float(seconds))
        print(how, taken, flush=True)


if __name__ == "__main__":
    main()

"""Locks on files, shared or exclusive, waited for with a deadline."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rapport_feast.errors import Transient

LOCK_SECONDS = 60.0
STEP_SECONDS = 0.02


@contextmanager
def opened_lock(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def held_lock(path: Path, kind: int) -> Iterator[int]:
    with opened_lock(path) as handle:
        if not wait_until(lambda: try_lock(handle, kind), LOCK_SECONDS):
            raise Transient(f"{path} was not free within {LOCK_SECONDS:.0f} s.")
        yield handle


def try_lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(STEP_SECONDS)
    return True

"""One process at a time: a lock that its holder gives back even by being killed."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def exclusive_lock(path: Path) -> Iterator[IO[str]]:
    """Wait until no other process holds a lock file, and hold it for the block.

    What the holder writes into the file is there for the next one, also if the holder was killed.
    """
    with path.open("a+", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock

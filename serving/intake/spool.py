"""Accepted events on disk while the log is away: segments of a folder, each record durable when it is acknowledged.

Every process has a folder of its own under a lock, and takes over those that a killed one left.
"""

import fcntl
import os
import shutil
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from uuid import uuid4

from rapport_feast.errors import Transient, one_line

SPOOL_BYTES = 256_000_000
SEGMENT_BYTES = 4_000_000
HEAD = struct.Struct("<III")
LOCK = "owner.lock"
Record = tuple[str, bytes]


class Spool:
    """First in, first out; may be used by several threads."""

    def __init__(self, home: Path, limit: int = SPOOL_BYTES) -> None:
        self._home, self._limit, self._alone = home, limit, Lock()
        self._folder = home / uuid4().hex
        self._folder.mkdir(parents=True)
        self._owned = [self._folder]
        self._locks = [_locked(self._folder)]
        self._segments: list[Path] = []
        self._number, self._open, self._held = 0, -1, 0
        self.adopt()

    def __len__(self) -> int:
        """Return how many bytes wait."""
        return self._held

    def adopt(self) -> None:
        """Take over what processes that are gone have left."""
        for folder in sorted(self._home.iterdir()):
            if folder in self._owned or (lock := _locked(folder)) is None:
                continue
            with self._alone:
                self._owned.append(folder)
                self._locks.append(lock)
                left = sorted(folder.glob("*.spool"))
                self._segments = [*left, *self._segments]
                self._held += sum(path.stat().st_size for path in left)

    def add(self, records: Sequence[Record]) -> None:
        """Put records last, on disk when this returns.

        Raises
        ------
        Transient
            The spool is full, or the disk is.
        """
        content = b"".join(_packed(*record) for record in records)
        with self._alone:
            if self._held + len(content) > self._limit:
                raise Transient(f"The event log is away and the spool holds all of its {self._limit:,} bytes.")
            try:
                self._write(content)
            except OSError as error:
                self._rotate()
                raise Transient(
                    f"The event log is away and the spool cannot be written ({one_line(error)})."
                ) from error
            self._held += len(content)

    def first(self) -> tuple[Path, list[Record]] | None:
        """Return the oldest segment and its records; None if nothing waits."""
        with self._alone:
            if not self._segments:
                return None
            segment = self._segments[0]
            if len(self._segments) == 1:
                self._rotate()
        return segment, list(_records(segment.read_bytes()))

    def done(self, segment: Path) -> None:
        """Drop the oldest segment, whose records the log has."""
        with self._alone:
            self._held -= segment.stat().st_size
            segment.unlink()
            self._segments.remove(segment)

    def close(self) -> None:
        """Give up the folders; those with records in them wait for the next process."""
        with self._alone:
            self._rotate()
            for folder, lock in zip(self._owned, self._locks, strict=True):
                if not any(folder.glob("*.spool")):
                    shutil.rmtree(folder, ignore_errors=True)
                if lock is not None:
                    os.close(lock)

    def _write(self, content: bytes) -> None:
        if self._open >= 0 and os.fstat(self._open).st_size > SEGMENT_BYTES:
            self._rotate()
        if self._open < 0:
            self._number += 1
            path = self._folder / f"{self._number:012d}.spool"
            self._open = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._segments.append(path)
            _sync(self._folder)
        size = os.fstat(self._open).st_size
        try:
            while content:
                content = content[os.write(self._open, content) :]
            os.fsync(self._open)
        except OSError:
            os.ftruncate(self._open, size)  # what was not acknowledged is not there
            raise

    def _rotate(self) -> None:
        """End the segment that is written to."""
        if self._open >= 0:
            os.close(self._open)
            self._open = -1


def _packed(source: str, payload: bytes) -> bytes:
    name = source.encode()
    return HEAD.pack(zlib.crc32(name + payload), len(name), len(payload)) + name + payload


def _records(content: bytes) -> Iterator[Record]:
    """Yield the whole records; a torn one was never acknowledged."""
    at = 0
    while at + HEAD.size <= len(content):
        checksum, named, length = HEAD.unpack_from(content, at)
        at += HEAD.size
        body = content[at : at + named + length]
        if zlib.crc32(body) != checksum:
            return
        yield body[:named].decode(), body[named:]
        at += named + length


def _locked(folder: Path) -> int | None:
    """Lock a folder for this process; None if another one lives that has."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:  # its owner is just removing it
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

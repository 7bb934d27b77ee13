"""Materialisation in portions, so that a killed run goes on where it was."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rapport_feast.atomic import write_json
from rapport_feast.job import RapportRetrievalJob

PORTION = 20_480
SPOOL = "rows.parquet"
MARK_SECONDS = 7 * 86_400


@dataclass(frozen=True)
class Mark:
    """How many portions of a task are online, as a key beside them."""

    client: Any
    key: str
    source: list[str]

    @property
    def portions(self) -> int:
        """How many portions of the same source are online."""
        source, portions = self.client.hmget(self.key, "source", "portions")
        return int(portions) if source == self._source else 0

    def put(self, portions: int) -> None:
        """Say that so many are."""
        self.client.hset(self.key, mapping={"source": self._source, "portions": portions})
        self.client.expire(self.key, MARK_SECONDS)

    def remove(self) -> None:
        """Forget it: everything is online."""
        self.client.delete(self.key)

    @property
    def _source(self) -> bytes:
        return hashlib.sha256("\n".join(self.source).encode()).hexdigest().encode()


class Portions:
    """The rows to write in portions: of a file, from the first that is not online, or of a table."""

    def __init__(self, rows: pa.Table | pq.ParquetFile, mark: Mark | None = None) -> None:
        self._rows, self._mark = rows, mark
        self._first = mark.portions if mark else 0

    @property
    def rows(self) -> int:
        """How many rows are left."""
        if self._mark is None:
            return int(self._rows.num_rows)
        groups = range(self._first, self._rows.num_row_groups)
        return sum(self._rows.metadata.row_group(number).num_rows for number in groups)

    def __iter__(self) -> Iterator[tuple[int, pa.Table]]:
        if self._mark is None:
            for number, first in enumerate(range(0, self._rows.num_rows, PORTION)):
                yield number, self._rows.slice(first, PORTION)
            return
        for number in range(self._first, self._rows.num_row_groups):
            yield number, self._rows.read_row_group(number)

    def done(self, portions: int) -> None:
        """Say that so many portions are online."""
        if self._mark:
            self._mark.put(portions)


def spooled_rows(folder: Path, job: RapportRetrievalJob, spool: Callable[[Path, int], None]) -> Path:
    """Return the file of a job's rows: that of a killed run, if nothing of the source changed since."""
    file, record = folder / SPOOL, folder / "source.json"
    state = {"source": job.state()}
    if file.exists() and record.exists() and json.loads(record.read_text(encoding="utf-8")) == state:
        return file
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    spool(folder / f"{SPOOL}.new", PORTION)
    (folder / f"{SPOOL}.new").replace(file)
    write_json(record, state)
    return file

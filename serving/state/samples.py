"""Samples of what was served, for the parity meter: rows as they left in answers, written by a thread of its own.

A request only puts what it has at hand in a bounded queue; what does not fit is dropped and counted.
"""

import queue
import random
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import orjson

from serving.lookup.ladder import Ladder
from serving.lookup.outcome import Outcome
from serving.timestamps import SECOND_US

QUEUE_SIZE = 10_000
WRITE_SECONDS = 0.2


class Sample(NamedTuple):
    """The rows of one join key in one answer."""

    request: str
    served_us: int
    applied_us: int | None
    key: str
    ids: list[str]
    rows: list[tuple[Ladder, list[Outcome]]]


class SampleWriter:
    """The queue of samples and the thread that writes them.

    Parameters
    ----------
    folder
        One file a day is written here.
    rate
        Share of the requests that are kept.
    """

    def __init__(self, folder: Path, rate: float) -> None:
        self.folder = folder
        self.rate = rate
        self.dropped = 0
        self._waiting: queue.Queue[Sample | None] = queue.Queue(QUEUE_SIZE)
        self._random = random.Random()  # noqa: S311 - which answers are kept is no secret
        self._thread: threading.Thread | None = None

    def is_sampled(self) -> bool:
        """Say whether the request at hand is one to keep."""
        return self.rate > 0 and self._random.random() < self.rate

    def offer(self, sample: Sample) -> None:
        """Keep a sample, if there is room."""
        try:
            self._waiting.put_nowait(sample)
        except queue.Full:
            self.dropped += 1

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._write, name="samples", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what waits, and end."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _write(self) -> None:
        while (sample := self._waiting.get()) is not None:
            batch, ended = [sample], False
            time.sleep(WRITE_SECONDS)
            with suppress(queue.Empty):
                while not ended:
                    sample = self._waiting.get_nowait()
                    ended = sample is None
                    batch += [sample] if sample is not None else []
            self._append(batch)
            if ended:
                return

    def _append(self, samples: list[Sample]) -> None:
        files: dict[str, TextIO] = {}
        try:
            for sample in samples:
                day = datetime.fromtimestamp(sample.served_us / SECOND_US, UTC).date().isoformat()
                if day not in files:
                    files[day] = (self.folder / f"samples-{day}.jsonl").open("a", encoding="utf-8")
                files[day].writelines(orjson.dumps(line).decode() + "\n" for line in self._lines(sample))
        except OSError:
            self.dropped += len(samples)
        finally:
            for file in files.values():
                file.close()

    def _lines(self, sample: Sample) -> list[dict[str, Any]]:
        return [
            {
                "request": sample.request,
                "served_us": sample.served_us,
                "applied_us": sample.applied_us,
                "entity": ladder.entity,
                "key": sample.key,
                "id": entity,
                "view": ladder.views[outcome.rung],
                "rung": outcome.rung,
                "event_us": outcome.event_us,
                "known_us": outcome.known_us,
                "definition": ladder.definition,
                "values": dict(zip(ladder.features, ladder.pick(outcome.values), strict=True)),
            }
            for ladder, outcomes in sample.rows
            for entity, outcome in dict(zip(sample.ids, outcomes, strict=True)).items()
            if outcome.rung in ("live", "nightly")
        ]

"""The event log as a stream of Spark (Structured Streaming): a Python data source, which needs no jar.

``features.stream.spark`` hands its batches to the runner. Offsets are positions of the log; Spark's own processes open
the log by the environment of the workspace, as any process does.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.streaming import StreamingQuery
from pyspark.sql.streaming.datasource import ReadLimit, ReadMaxRows

from infra.log.event_log import Entry, EventLog
from infra.log.open import event_log
from infra.private import keep_private
from infra.settings import PREFIX, Settings
from infra.telemetry import configure
from infra.workspace import Workspace, open_workspace

SCHEMA = "position long, accepted_us long, source string, payload binary"
READ_AT_ONCE = 10_000
Offset = dict[str, int]


class Span(InputPartition):
    """Entries behind one position up to another."""

    def __init__(self, after: int, until: int) -> None:
        self.after, self.until = after, until


class LogReader(DataSourceStreamReader):
    """Reads spans of positions. Offsets are asked of one process, which keeps the log open; workers read the spans."""

    def __init__(self, options: dict[str, str]) -> None:
        self.after, self.limit = int(options["after"]), ReadMaxRows(int(options["batch"]))
        self.environment = json.loads(options["environment"])
        self._open = ExitStack()
        self._log: EventLog | None = None

    def initialOffset(self) -> Offset:  # noqa: N802
        """Return where a stream without a checkpoint begins."""
        return {"position": self.after}

    def getDefaultReadLimit(self) -> ReadLimit:  # noqa: N802
        """Return how many entries a batch may hold."""
        return self.limit

    def latestOffset(self, start: Offset, _limit: ReadLimit) -> Offset:  # noqa: N802
        """Return the position of the newest entry, or of the last that fits into a batch."""
        if self._log is None:
            self._log = self._open.enter_context(event_log(_opened(self.environment)))
        entries = self._log.read(start["position"], self.limit.max_rows)
        return {"position": entries[-1].position} if entries else start

    def partitions(self, start: Offset, end: Offset) -> Sequence[InputPartition]:
        """Return one span: entries keep their order."""
        return [Span(start["position"], end["position"])] if end["position"] > start["position"] else []

    def read(self, partition: InputPartition) -> Iterator[tuple[int, int, str, bytes]]:
        """Yield the entries of a span."""
        after, until = partition.after, partition.until
        with event_log(_opened(self.environment)) as log:
            while after < until and (entries := log.read(after, READ_AT_ONCE)):
                for entry in entries:
                    if entry.position <= until:
                        yield entry.position, entry.accepted_us, entry.source, entry.payload
                after = entries[-1].position

    def stop(self) -> None:
        """Leave the log."""
        self._open.close()


class LogSource(DataSource):
    """The source ``rapport_log``, with the options ``after``, ``batch`` and ``environment``."""

    @classmethod
    def name(cls) -> str:
        """Return the name of the format."""
        return "rapport_log"

    def schema(self) -> str:
        """Return the columns of an entry."""
        return SCHEMA

    def streamReader(self, schema: Any) -> LogReader:  # noqa: N802
        """Return the reader."""
        return LogReader(dict(self.options))


def stream_log(
    spark: SparkSession,
    ws: Workspace,
    after: int,
    checkpoint: Path,
    take: Callable[[list[Entry]], object],
    batch: int,
    seconds: float,
) -> StreamingQuery:
    """Start a streaming query that hands the log behind a position on, batch by batch, in the order of the log.

    Parameters
    ----------
    spark
        The session.
    after
        Where it begins if the checkpoint says nothing.
    checkpoint
        Folder in which Spark keeps how far it came.
    take
        What is done with a batch.
    batch
        The most entries of a batch, however far the log is ahead.
    seconds
        How often it looks for entries.
    """
    spark.dataSource.register(LogSource)
    options = {"after": str(after), "batch": str(batch), "environment": json.dumps(ws.environment())}

    def hand_on(rows: DataFrame, _number: int) -> None:
        found = [Entry(row[0], row[1], row[2], bytes(row[3])) for row in rows.collect()]
        take(sorted(found, key=lambda entry: entry.position))

    stream = spark.readStream.format(LogSource.name()).options(**options).load().writeStream.foreachBatch(hand_on)
    often = stream.trigger(processingTime=f"{seconds:g} seconds").option("checkpointLocation", str(checkpoint))
    return often.start()


def _opened(environment: dict[str, str]) -> Workspace:
    """Open the workspace that an environment describes, which need not be that of this process."""
    named = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items()}
    settings = Settings.model_validate(named)
    configure(settings)
    keep_private()
    return open_workspace(settings)

"""The event log as a stream of Spark (Structured Streaming): a Python data source, which needs no jar.

``features.spark_stream`` hands its batches to the runner. Offsets are positions of the log; workers open the log by the
environment of the workspace, as any process does.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.streaming import StreamingQuery

from infra.event_log import Entry, event_log
from infra.workspace import Workspace, open_workspace

SCHEMA = "position long, accepted_us long, source string, payload binary"
READ_AT_ONCE = 10_000


class Span(InputPartition):
    """Entries behind one position up to another."""

    def __init__(self, after: int, until: int) -> None:
        self.after, self.until = after, until


class LogReader(DataSourceStreamReader):
    """Reads spans of positions."""

    def __init__(self, options: dict[str, str]) -> None:
        self.after, self.environment = int(options["after"]), json.loads(options["environment"])

    def initialOffset(self) -> dict[str, int]:  # noqa: N802
        """Return where a stream without a checkpoint begins."""
        return {"position": self.after}

    def latestOffset(self) -> dict[str, int]:  # noqa: N802
        """Return the position of the newest entry."""
        with event_log(_opened(self.environment)) as log:
            end = log.end()
        return {"position": max(end[0], self.after) if end else self.after}

    def partitions(self, start: dict[str, int], end: dict[str, int]) -> Sequence[InputPartition]:
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

    def commit(self, end: dict[str, int]) -> None:
        """Do nothing: the runner says in the log how far it came."""


class LogSource(DataSource):
    """The source ``rapport_log``, with the options ``after`` and ``environment``."""

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
    spark: SparkSession, ws: Workspace, after: int, checkpoint: Path, take: Callable[[list[Entry]], object]
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
        What is done with a batch; a fault ends the query.
    """
    spark.dataSource.register(LogSource)
    options = {"after": str(after), "environment": json.dumps(ws.environment())}

    def batch(rows: DataFrame, _number: int) -> None:
        found = [Entry(row[0], row[1], row[2], bytes(row[3])) for row in rows.collect()]
        take(sorted(found, key=lambda entry: entry.position))

    stream = spark.readStream.format(LogSource.name()).options(**options).load()
    return stream.writeStream.foreachBatch(batch).option("checkpointLocation", str(checkpoint)).start()


def _opened(environment: dict[str, str]) -> Workspace:
    os.environ.update(environment)
    return open_workspace()

"""The stream on Spark: Structured Streaming reads the log, and Spark computes the same compiled groups (R58).

``foreachBatch`` hands each micro-batch to the runner of ``runner.py``, which keeps what is known, publishes, and has
its values computed by Spark. Log time, late facts, departures and hand-overs are the runner's, so nothing is dropped
behind a watermark. So is what was applied: a query begins where the runner stands, never where an older one ended.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Lock

from features.stream.runner import BATCH_LIMIT, IDLE_SECONDS, Runner
from infra.engine.open import open_engine
from infra.engine.spark_engine import SparkEngine
from infra.log.event_log import Entry, EventLog
from infra.workspace import Workspace
from rapport_feast.errors import Terminal, Transient
from rapport_feast.row.address import OnlineStore

# A batch is a few rows, asked for again and again: to generate and compile code takes longer than to interpret.
SMALL_BATCH_CONF = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "1",
}


@contextmanager
def spark_runner(ws: Workspace, log: EventLog, online: OnlineStore) -> Iterator[Runner]:
    """Open a runner whose values Spark computes.

    Raises
    ------
    Rejected
        There is no Java.
    """
    with open_engine(ws, "spark") as engine:
        assert isinstance(engine, SparkEngine)  # noqa: S101
        for name, value in SMALL_BATCH_CONF.items():
            engine.session.conf.set(name, value)
        runner = Runner(ws, log, online, engine=engine)
        try:
            yield runner
        finally:
            runner.close()


def run(runner: Runner) -> None:
    """Follow the log by Structured Streaming until ``runner.stopping`` is set; the batch in hand is finished first.

    A log or a store that is silent ends the query; after a while another one goes on where the runner stands.

    Raises
    ------
    Terminal
        The query ended for another reason, or the runner's values are not Spark's.
    """
    engine = runner.engine
    if not isinstance(engine, SparkEngine):
        raise Terminal("A stream on Spark needs a runner whose values Spark computes.")
    runner.repeat(lambda: _follow(runner, engine))


def _follow(runner: Runner, engine: SparkEngine) -> None:
    """Run one query; between its batches time goes on too."""
    from infra.log.spark_reader import stream_log

    position, batches = runner.start(), MicroBatches(runner)
    checkpoint = runner.ws.folder("spark") / "stream"
    shutil.rmtree(checkpoint, ignore_errors=True)
    query = stream_log(engine.session, runner.ws, position, checkpoint, batches.apply, BATCH_LIMIT, IDLE_SECONDS)
    try:
        while not runner.stopping.wait(IDLE_SECONDS):
            if batches.fault is not None:
                raise batches.fault
            if not query.isActive:
                raise _fault(str(query.exception()))
            runner.apply([])
    finally:
        batches.end()
        query.stop()


class MicroBatches:
    """What a query does with its batches, until it is over."""

    def __init__(self, runner: Runner) -> None:
        self.fault: Exception | None = None
        self._runner, self._ended, self._lock = runner, Event(), Lock()

    def apply(self, entries: Sequence[Entry]) -> None:
        """Have the runner apply a batch; after a fault no other.

        The fault is kept for ``_follow``: raised here, Spark would log it at length and wrap it in an error of its own.
        """
        with self._lock:
            if self._ended.is_set():
                return
            try:
                self._runner.apply(entries)
            except Exception as fault:  # noqa: BLE001  # ``_follow`` raises it
                self.fault = fault
                self._ended.set()

    def end(self) -> None:
        """Let the batch in hand be finished, and no other be begun: to stop a query ends its jobs."""
        self._ended.set()
        with self._lock:
            pass


def _fault(message: str) -> Exception:
    """Return the error of a query that ended by itself: transient if Spark's reader found the log silent."""
    _, is_transient, why = message.partition(f"{Transient.__name__}: ")
    if is_transient:
        return Transient(why.partition("\n")[0].strip())
    return Terminal(f"Spark's stream of the event log ended: {message}")

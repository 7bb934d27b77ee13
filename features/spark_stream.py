"""The stream on Spark: Structured Streaming reads the log, and Spark computes the same compiled groups (R58).

``foreachBatch`` hands each micro-batch to the runner of ``stream.py``, which keeps what is known, publishes, and has
its values computed by Spark. Log time, late facts and departures are the runner's, so nothing is dropped behind a
watermark, and the checkpoint is only a hint where to go on: entries that were applied before are left.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from features.stream import IDLE_SECONDS, Runner
from infra.engine import SparkEngine, open_engine
from infra.errors import Terminal
from infra.event_log import EventLog
from infra.online import OnlineStore
from infra.workspace import Workspace


@contextmanager
def spark_runner(ws: Workspace, log: EventLog, online: OnlineStore) -> Iterator[Runner]:
    """Open a runner whose values Spark computes.

    Raises
    ------
    Rejected
        There is no Java.
    """
    with open_engine(ws, "spark") as engine:
        runner = Runner(ws, log, online, engine=engine)
        try:
            yield runner
        finally:
            runner.close()


def run(runner: Runner) -> None:
    """Follow the log by Structured Streaming until ``runner.stopping`` is set; between batches time goes on too.

    Raises
    ------
    Terminal
        The query ended by itself, or the runner's values are not Spark's.
    """
    from infra.spark_log import stream_log

    if not isinstance(runner.engine, SparkEngine):
        raise Terminal("A stream on Spark needs a runner whose values Spark computes.")
    position = runner.begin()
    # A fresh runner knows better than an old checkpoint what is applied.
    checkpoint = runner.ws.folder("spark") / "stream"
    shutil.rmtree(checkpoint, ignore_errors=True)
    query = stream_log(runner.engine.session, runner.ws, position, checkpoint, runner.apply)
    try:
        while not runner.stopping.wait(IDLE_SECONDS):
            if not query.isActive:
                raise Terminal(f"Spark's stream of the event log ended: {query.exception()}")
            runner.apply([])
    finally:
        if query.isActive:
            query.processAllAvailable()
        query.stop()

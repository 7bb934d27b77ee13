"""The stream runner as a process: ``rapport stream``, which ``make up`` starts too."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server
from rich.console import Console

from features.stream import spark
from features.stream.runner import Runner
from infra.log.event_log import EventLog
from infra.log.open import event_log
from infra.redis.online_store import online_store
from infra.telemetry import Log
from infra.workspace import Workspace
from rapport.stack.ports import LOOPBACK
from rapport_feast.errors import Rejected
from rapport_feast.row.address import OnlineStore

LOG = Log(__name__)

PROGRESS_SECONDS = 10.0


def run(ws: Workspace, console: Console) -> None:
    """Follow the event log until SIGTERM or Ctrl-C; what was read by then is published first.

    Raises
    ------
    Rejected
        No live group is in the catalogue, or the port of the metrics is taken.
    Transient
        The log or the online store does not answer at the start.
    """
    with event_log(ws) as log, online_store(ws) as online, _runner(ws, log, online) as runner:
        if not runner.groups:
            raise Rejected("stream", "a live group in the catalogue", "none")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: runner.stopping.set())
        server = _metrics(ws.settings.stream_port, runner)
        console.print(f"following the event log of {ws.company.title}; metrics at {server}", soft_wrap=True)
        LOG.info("stream started", engine=ws.settings.engine, port=ws.settings.stream_port)
        printer = threading.Thread(target=_print_progress, args=(runner, console), daemon=True)
        printer.start()
        if ws.settings.engine == "spark":
            spark.run(runner)
        else:
            runner.run()
        console.print(f"stopped at position {runner.position}")
        LOG.info("stream stopped")


@contextmanager
def _runner(ws: Workspace, log: EventLog, online: OnlineStore) -> Iterator[Runner]:
    if ws.settings.engine == "spark":
        with spark.spark_runner(ws, log, online) as runner:
            yield runner
    else:
        yield Runner(ws, log, online)


def _metrics(port: int, runner: Runner) -> str:
    try:
        start_http_server(port, LOOPBACK, runner.metrics.registry)
    except OSError as error:
        remedy = "Choose another with RAPPORT_STREAM_PORT."
        raise Rejected(f"port {port}", "a free port", error.strerror or str(error), remedy) from None
    return f"http://{LOOPBACK}:{port}/metrics"


def _print_progress(runner: Runner, console: Console) -> None:
    """Print now and then how far the runner is, until it stops."""
    printed = -1.0
    while not runner.stopping.wait(PROGRESS_SECONDS):
        facts, lag = (_value(metric) for metric in (runner.metrics.facts, runner.metrics.lag))
        if facts != printed:
            console.print(f"{facts:,.0f} facts applied, {lag:,.0f} entries to come")
            printed = facts


def _value(meter: object) -> float:
    return float(next(iter(meter.collect())).samples[0].value)  # type: ignore[attr-defined]

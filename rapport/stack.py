"""The local stack: who owns the Airflow processes of a company, how they start, and ``make up``, which keeps them.

One process at a time owns them, by a lock in Airflow's home; another finds them there and joins.
"""

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from rich.console import Console

from infra.errors import Rejected, Transient
from infra.workspace import Workspace
from rapport.airflow import ADMIN, PYTHON, AirflowHome
from rapport.processes import LOOPBACK, Processes, free_port, refuse_taken_port


@dataclass(frozen=True)
class Stack:
    """Airflow as it runs: its home, its API's port, and whether this process owns it."""

    home: AirflowHome
    port: int
    processes: Processes | None = None

    def check(self) -> None:
        """Check that the processes, if they are ours, still run."""
        if self.processes is not None:
            self.processes.check()


@contextmanager
def owned(ws: Workspace, port: int) -> Iterator[bool]:
    """Own the stack of a company; yields False where another process owns it."""
    folder = ws.folder("airflow")
    with (folder / "stack.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        record = folder / "stack.json"
        record.write_text(json.dumps({"port": port, "settings": ws.environment()}))
        try:
            yield True
        finally:
            record.unlink()


def joined(ws: Workspace) -> Stack:
    """Return the stack that another process owns.

    Raises
    ------
    Rejected
        It runs with other settings, so it would not do what is asked here.
    Transient
        It is just starting or stopping.
    """
    try:
        record = json.loads((ws.folder("airflow") / "stack.json").read_text())
    except FileNotFoundError:
        raise Transient("The stack of this company is starting or stopping; try again in a moment.") from None
    stated, running = ws.environment(), record["settings"]
    names = {name for name in stated.keys() | running.keys() if not name.endswith("_PORT")}
    if other := sorted(name for name in names if stated.get(name) != running.get(name)):
        raise Rejected(", ".join(other), "what the running stack was started with", "another value", "Stop it first.")
    return Stack(AirflowHome(ws), record["port"])


@contextmanager
def airflow(ws: Workspace, console: Console) -> Iterator[Stack]:
    """Join the company's Airflow, or start it on a free port, without schedule, until the end of the block."""
    home, port = AirflowHome(ws), free_port()
    with owned(ws, port) as ours:
        if not ours:
            yield joined(ws)
            return
        with console.status("preparing Airflow (database, DAGs)"):
            home.prepare()
        processes = Processes(home.folder / "logs")
        processes.end_stale()
        home.settle(schedule=False)
        before = signal.signal(signal.SIGTERM, interrupt)
        try:
            with console.status("starting Airflow"):
                start_airflow(home, processes, port, free_port())
            yield Stack(home, port, processes)
        finally:
            processes.stop()
            home.settle(schedule=False)
            signal.signal(signal.SIGTERM, before)


def start_airflow(home: AirflowHome, processes: Processes, port: int, tasks_port: int) -> None:
    """Start the scheduler and the API, and wait until both the users' and the tasks' part of the API answer.

    The two parts take their seconds of start-up in two processes side by side where the ports differ. Asking the tasks'
    part also warms it up: its first answer takes longer than a task waits.
    """
    environment = home.environment(port, tasks_port)
    processes.start("scheduler", [*PYTHON, "scheduler", "--skip-serve-logs"], environment)
    apps = ["--apps", "core"] if tasks_port != port else []
    processes.start("api-server", [*PYTHON, "api-server", *apps], environment)
    if tasks_port != port:
        tasks_api = [*PYTHON, "api-server", "--apps", "execution", "--port", str(tasks_port)]
        processes.start("tasks-api", tasks_api, environment)
    processes.wait_for("api-server", f"http://{LOOPBACK}:{port}/api/v2/version")
    processes.wait_for("tasks-api", f"http://{LOOPBACK}:{tasks_port}/execution/health")


def up(ws: Workspace, console: Console) -> int:
    """Run Airflow with its schedule, MLflow, the online service and the stream until Ctrl-C or SIGTERM.

    Raises
    ------
    Rejected
        A port is taken.
    Terminal
        One of the processes ended by itself.
    """
    settings, home = ws.settings, AirflowHome(ws)
    for port, user, setting in (
        (settings.airflow_port, "Airflow", "RAPPORT_AIRFLOW_PORT"),
        (settings.mlflow_port, "MLflow", "RAPPORT_MLFLOW_PORT"),
        (settings.serve_port, "the online service", "RAPPORT_SERVE_PORT"),
        (settings.stream_port, "the stream", "RAPPORT_STREAM_PORT"),
    ):
        refuse_taken_port(port, user, setting)
    with owned(ws, settings.airflow_port) as ours:
        if not ours:
            raise Rejected("make up", "no other stack of this company", "one that runs", "Stop it first.")
        with console.status("preparing Airflow (database, DAGs)"):
            home.prepare()
        processes = Processes(home.folder / "logs")
        processes.end_stale()
        home.settle(schedule=True)
        signal.signal(signal.SIGTERM, interrupt)
        try:
            start_all(home, processes, console)
            while True:
                processes.check()
                time.sleep(1)
        except KeyboardInterrupt:
            console.print("stopping")
        finally:
            processes.stop()
    return 0


def start_all(home: AirflowHome, processes: Processes, console: Console) -> None:
    """Start the services and print their addresses as they answer."""
    ws, settings = home.ws, home.ws.settings
    environment = home.environment(settings.airflow_port)
    processes.start("mlflow", mlflow_command(ws), environment)
    processes.start("serve", serve_command(ws), environment)
    processes.start("stream", [sys.executable, "-m", "rapport", "stream"], environment)
    with console.status("starting Airflow, MLflow and the online service"):
        processes.start("dag-processor", [*PYTHON, "dag-processor"], environment)
        start_airflow(home, processes, settings.airflow_port, settings.airflow_port)
    console.print(
        f"Airflow          http://{LOOPBACK}:{settings.airflow_port}  user {ADMIN}, password in:", soft_wrap=True
    )
    console.print(f"                 {home.passwords}", soft_wrap=True)
    processes.wait_for("mlflow", f"http://{LOOPBACK}:{settings.mlflow_port}/health")
    console.print(f"MLflow           http://{LOOPBACK}:{settings.mlflow_port}")
    processes.wait_for("serve", f"http://{LOOPBACK}:{settings.serve_port}/health")
    console.print(f"online service   http://{LOOPBACK}:{settings.serve_port}")
    console.print(f"stream           http://{LOOPBACK}:{settings.stream_port}/metrics  (Ctrl-C stops all of it)")


def mlflow_command(ws: Workspace) -> list[str]:
    """Return the command of MLflow's UI on the company's runs."""
    store, artifacts = ws.metadata_url("mlflow"), str(ws.folder("mlflow") / "artifacts")
    port = str(ws.settings.mlflow_port)
    where = ["--backend-store-uri", store, "--default-artifact-root", artifacts, "--host", LOOPBACK, "--port", port]
    return [sys.executable, "-m", "mlflow", "server", *where, "--workers", "1"]


def serve_command(ws: Workspace) -> list[str]:
    """Return the command of the online service."""
    return [sys.executable, "-m", "rapport", "serve", "--port", str(ws.settings.serve_port)]


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Make SIGTERM end the stack as Ctrl-C does."""
    raise KeyboardInterrupt


def passthrough(ws: Workspace, arguments: Sequence[str]) -> NoReturn:
    """Become the Airflow command line on this company's home: ``rapport airflow dags list-runs nightly``."""
    home = AirflowHome(ws)
    home.prepare()
    os.execve(PYTHON[0], [*PYTHON, *arguments], home.environment(ws.settings.airflow_port))

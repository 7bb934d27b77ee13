"""Airflow's own processes, started for a block of code or by ``make up``."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from rich.console import Console

from infra.workspace import Workspace
from rapport.stack.airflow_home import PYTHON, AirflowHome
from rapport.stack.ownership import Stack, owner_lock, running_stack
from rapport.stack.ports import LOOPBACK, free_port
from rapport.stack.processes import Processes


@contextmanager
def running_airflow(ws: Workspace, console: Console) -> Iterator[Stack]:
    """Join the company's Airflow, or start it on a free port, without schedule, until the end of the block."""
    home, port = AirflowHome(ws), free_port()
    with owner_lock(ws, port) as ours:
        if not ours:
            yield running_stack(ws)
            return
        with console.status("preparing Airflow (database, DAGs)"):
            home.prepare()
        processes = Processes(home.folder / "logs")
        processes.end_stale()
        home.end_unfinished(schedule=False)
        before = signal.signal(signal.SIGTERM, interrupt)
        try:
            with console.status("starting Airflow"):
                start_airflow(home, processes, port, free_port())
            yield Stack(home, port, processes)
        finally:
            processes.stop()
            home.end_unfinished(schedule=False)
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


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Make SIGTERM end the stack as Ctrl-C does."""
    raise KeyboardInterrupt

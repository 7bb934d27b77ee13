"""``make up``: Airflow with its schedule, MLflow, the online service and the stream until Ctrl-C."""

import signal
import sys
import time

from rich.console import Console

from infra.workspace import Workspace
from rapport.stack.airflow_home import ADMIN, PYTHON, AirflowHome
from rapport.stack.airflow_processes import interrupt, start_airflow
from rapport.stack.ownership import owner_lock
from rapport.stack.ports import LOOPBACK, refuse_taken_port
from rapport.stack.processes import Processes
from rapport_feast.errors import Rejected


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
    with owner_lock(ws, settings.airflow_port) as ours:
        if not ours:
            raise Rejected("make up", "no other stack of this company", "one that runs", "Stop it first.")
        with console.status("preparing Airflow (database, DAGs)"):
            home.prepare()
        processes = Processes(home.folder / "logs")
        processes.end_stale()
        home.end_unfinished(schedule=True)
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
    processes.start("stream", [sys.executable, "-P", "-m", "rapport", "stream"], environment)
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
    return [sys.executable, "-P", "-m", "rapport", "serve", "--port", str(ws.settings.serve_port)]

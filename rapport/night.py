"""One night, or several, run by Airflow's scheduler while somebody looks on: ``make nightly``.

The nightly run is followed to its end, then the runs of parity and drift on the event it emitted, then the retraining
if there is one.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from sqlalchemy import Connection, text

from infra.errors import Terminal
from infra.workspace import Workspace
from rapport.airflow import ADMIN, AirflowHome
from rapport.processes import LOOPBACK
from rapport.stack import Stack, airflow

POLL = 0.3
PATIENCE = 60.0
FOLLOWED_BY = {"nightly": ("close", ("parity", "drift")), "drift": ("announce", ("retrain",))}
ENDED = {
    "success": "[green]ok[/]",
    "failed": "[red]failed[/]",
    "up_for_retry": "[yellow]will try again[/]",
    "skipped": "skipped",
}


@dataclass(frozen=True)
class Run:
    """A DAG run by its names."""

    dag: str
    run_id: str
    night: str
    number: int


def run_night(ws: Workspace, night: date, console: Console) -> int:
    """Run a night through the scheduler and return the exit code: 0 if all of its runs succeeded.

    Raises
    ------
    Rejected
        The running stack has other settings.
    Terminal
        Airflow does not start, or a process of it ends.
    """
    with airflow(ws, console) as stack:
        run_id = trigger(stack, "nightly", night)
        return Watch(stack, console).follow(find(stack.home, "run_id = :run", run=run_id))


def backfill(ws: Workspace, first: date, last: date, console: Console) -> int:
    """Run nights in order by Airflow's back-fill, also those that ran before, and return the exit code.

    Raises
    ------
    Rejected
        The running stack has other settings.
    Terminal
        Airflow refused the back-fill.
    """
    with airflow(ws, console) as stack:
        span = ["--from-date", str(first), "--to-date", str(last)]
        order = ["--max-active-runs", "1", "--reprocess-behavior", "completed"]
        with stack.home.engine.connect() as connection:
            before = connection.scalar(text("SELECT coalesce(max(id), 0) FROM dag_run"))
        stack.home.run(["backfill", "create", "--dag-id", "nightly", *span, *order])
        return Watch(stack, console).follow(find(stack.home, "run_type = 'backfill' AND id > :before", before=before))


def find(home: AirflowHome, condition: str, **values: Any) -> list[Run]:
    """Return the nightly runs that meet a condition, oldest first."""
    query = f"SELECT run_id, partition_key, id FROM dag_run WHERE dag_id = 'nightly' AND {condition} ORDER BY id"
    with home.engine.connect() as connection:
        return [Run("nightly", *row) for row in connection.execute(text(query), values)]


def trigger(stack: Stack, dag: str, night: date) -> str:
    """Trigger a run of a DAG for a night over REST and return its id.

    Raises
    ------
    Terminal
        Airflow refused it.
    """
    base = f"http://{LOOPBACK}:{stack.port}"
    login = {"username": ADMIN, "password": json.loads(stack.home.passwords.read_text())[ADMIN]}
    token = post(f"{base}/auth/token", login)["access_token"]
    body = {"logical_date": None, "partition_key": str(night)}
    return str(post(f"{base}/api/v2/dags/{dag}/dagRuns", body, token)["dag_run_id"])


def post(url: str, body: dict[str, Any], token: str = "") -> dict[str, Any]:
    """Post JSON and return the JSON of the answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=30) as answer:
            return dict(json.load(answer))
    except HTTPError as error:
        raise Terminal(f"Airflow answered {error.code} to {url}: {error.read().decode()}") from error


class Watch:
    """Shows runs as they go: one line for each task that ends, and why it failed if it did."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self.stack, self.console = stack, console
        self.shown: set[tuple[Any, ...]] = set()

    def follow(self, runs: Sequence[Run]) -> int:
        """Watch runs to their end, each with the runs that its events cause; 0 if all succeeded."""
        waiting, code = list(runs), 0
        with self.console.status("waiting for the scheduler") as status:
            while waiting:
                run = waiting.pop(0)
                state = self.watch(run, status)
                code |= state != "success"
                if state == "success":
                    waiting += self.caused(run)
        return code

    def watch(self, run: Run, status: Status) -> str:
        """Watch one run to its end and return its state."""
        while True:
            self.stack.check()
            with self.stack.home.engine.connect() as connection:
                state = connection.scalar(text("SELECT state FROM dag_run WHERE id = :id"), {"id": run.number})
                self.show(connection, run, status)
            if state in ("success", "failed"):
                return str(state)
            time.sleep(POLL)

    def show(self, connection: Connection, run: Run, status: Status) -> None:
        """Print the tasks that ended since the last look (where nothing can be redrawn, those that began too)."""
        query = """SELECT task_id, state, try_number, start_date, end_date FROM task_instance
                   WHERE dag_id = :dag AND run_id = :run ORDER BY end_date"""
        tasks = connection.execute(text(query), {"dag": run.dag, "run": run.run_id}).all()
        running = [task.task_id for task in tasks if task.state == "running"]
        status.update(f"{run.night} {run.dag}: {', '.join(running) or 'scheduling'}")
        for task in tasks:
            key = (run.number, task.task_id, task.state, task.try_number)
            if key in self.shown:
                continue
            self.shown.add(key)
            name = f"{run.night} {run.dag + '.' + task.task_id:34}"
            if task.state == "running" and not self.console.is_terminal:
                self.print(f"{name} started")
            elif task.state in ENDED:
                self.print(f"{name} {seconds(task.start_date, task.end_date):7.1f} s  {ENDED[task.state]}")
                if note := self.note(connection, run, task.task_id, task.state, task.try_number):
                    self.print(f"           {escape(note)}")

    def print(self, line: str) -> None:
        """Print a line as it is, without wrapping."""
        self.console.print(line, highlight=False, soft_wrap=True)

    def note(self, connection: Connection, run: Run, task: str, state: str, attempt: int) -> str:
        """Return what a task has to say: why it failed, or the reason that stands in its result."""
        if state in ("failed", "up_for_retry"):
            return last_error(self.stack.home, run, task, attempt)
        query = """SELECT value FROM xcom
                   WHERE dag_id = :dag AND run_id = :run AND task_id = :task AND key = 'return_value'"""
        value = connection.scalar(text(query), {"dag": run.dag, "run": run.run_id, "task": task})
        result = json.loads(value) if isinstance(value, str) else value
        return str(result.get("reason") or "") if isinstance(result, dict) else ""

    def caused(self, run: Run) -> list[Run]:
        """Return the runs that a finished run's event causes, once the scheduler made them; none if it emitted none."""
        task, dags = FOLLOWED_BY.get(run.dag, ("", ()))
        started = (self.started(run, task, dag) for dag in dags)
        return [one for one in started if one]

    def started(self, run: Run, task: str, dag: str) -> Run | None:
        """Return the run of a DAG that the event of a finished run's task causes; None if it emitted none."""
        emitted = """SELECT count(*) FROM asset_event
                     WHERE source_dag_id = :dag AND source_run_id = :run AND source_task_id = :task"""
        made = """SELECT r.run_id, r.partition_key, r.id FROM dag_run r
                  JOIN dagrun_asset_event c ON c.dag_run_id = r.id JOIN asset_event e ON e.id = c.event_id
                  WHERE r.dag_id = :next AND e.source_dag_id = :dag AND e.source_run_id = :run ORDER BY r.id"""
        names = {"dag": run.dag, "run": run.run_id, "task": task, "next": dag}
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with self.stack.home.engine.connect() as connection:
                if not connection.scalar(text(emitted), names):
                    return None
                if row := connection.execute(text(made), names).first():
                    return Run(dag, *row)
            time.sleep(POLL)
        raise Terminal(f"The event of {run.dag} {run.run_id} started no run of {dag} within {PATIENCE:.0f} s.")


def last_error(home: AirflowHome, run: Run, task: str, attempt: int) -> str:
    """Return the last error of a task's log as one sentence, with where the log lies."""
    folder = home.folder / "logs" / f"dag_id={run.dag}" / f"run_id={run.run_id}" / f"task_id={task}"
    log = folder / f"attempt={attempt}.log"
    entries = (
        [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")] if log.exists() else []
    )
    details = [entry["error_detail"] for entry in entries if entry.get("error_detail")]
    return f"{details[-1][0]['exc_value']} (log: {log})" if details else f"log: {log}"


def runs(ws: Workspace, most: int = 20) -> list[dict[str, Any]]:
    """Return the newest runs of the company's DAGs, newest first; empty before the first night."""
    home = AirflowHome(ws)
    if not home.exists():
        return []
    query = (
        "SELECT dag_id, run_id, partition_key, state, start_date, end_date FROM dag_run ORDER BY id DESC LIMIT :most"
    )
    with home.engine.connect() as connection:
        rows = connection.execute(text(query), {"most": most}).all()
    return [
        {"dag": r.dag_id, "run_id": r.run_id, "partition_key": r.partition_key, "state": r.state,
         "seconds": seconds(r.start_date, r.end_date) if r.start_date and r.end_date else None}
        for r in rows
    ]  # fmt: skip


def seconds(start: Any, end: Any) -> float:
    """Return the seconds between two times of the metadata (text on SQLite), 0 where one is missing."""
    if not (start and end):
        return 0.0
    return round((datetime.fromisoformat(str(end)) - datetime.fromisoformat(str(start))).total_seconds(), 1)

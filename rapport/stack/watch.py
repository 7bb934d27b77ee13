"""Runs followed to their end: a line for each task, then the runs that their events cause."""

import json
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from sqlalchemy import Connection, text

from rapport.stack.ownership import Stack
from rapport.stack.runs import Run, last_error, seconds
from rapport_feast.errors import Terminal

POLL_SECONDS = 0.3
EVENT_TIMEOUT = 60.0
FOLLOWED_BY = {"nightly": ("close", ("parity", "drift")), "drift": ("announce", ("retrain",))}
STATE_LABELS = {
    "success": "[green]ok[/]",
    "failed": "[red]failed[/]",
    "up_for_retry": "[yellow]will try again[/]",
    "skipped": "skipped",
}


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
                    waiting += self.triggered_runs(run)
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
            time.sleep(POLL_SECONDS)

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
            elif task.state in STATE_LABELS:
                self.print(f"{name} {seconds(task.start_date, task.end_date):7.1f} s  {STATE_LABELS[task.state]}")
                if reason := self.reason(connection, run, task.task_id, task.state, task.try_number):
                    self.print(f"           {escape(reason)}")

    def print(self, line: str) -> None:
        """Print a line as it is, without wrapping."""
        self.console.print(line, highlight=False, soft_wrap=True)

    def reason(self, connection: Connection, run: Run, task: str, state: str, attempt: int) -> str:
        """Return why a task failed, or the reason that its result gives."""
        if state in ("failed", "up_for_retry"):
            return last_error(self.stack.home, run, task, attempt)
        query = """SELECT value FROM xcom
                   WHERE dag_id = :dag AND run_id = :run AND task_id = :task AND key = 'return_value'"""
        value = connection.scalar(text(query), {"dag": run.dag, "run": run.run_id, "task": task})
        result = json.loads(value) if isinstance(value, str) else value
        return str(result.get("reason") or "") if isinstance(result, dict) else ""

    def triggered_runs(self, run: Run) -> list[Run]:
        """Return the runs that a finished run's event causes, once the scheduler made them; none if it emitted none."""
        task, dags = FOLLOWED_BY.get(run.dag, ("", ()))
        triggered = (self.triggered_run(run, task, dag) for dag in dags)
        return [one for one in triggered if one]

    def triggered_run(self, run: Run, task: str, dag: str) -> Run | None:
        """Return the run of a DAG that the event of a finished run's task causes; None if it emitted none."""
        emitted = """SELECT count(*) FROM asset_event
                     WHERE source_dag_id = :dag AND source_run_id = :run AND source_task_id = :task"""
        made = """SELECT r.run_id, r.partition_key, r.id FROM dag_run r
                  JOIN dagrun_asset_event c ON c.dag_run_id = r.id JOIN asset_event e ON e.id = c.event_id
                  WHERE r.dag_id = :next AND e.source_dag_id = :dag AND e.source_run_id = :run ORDER BY r.id"""
        names = {"dag": run.dag, "run": run.run_id, "task": task, "next": dag}
        deadline = time.monotonic() + EVENT_TIMEOUT
        while time.monotonic() < deadline:
            with self.stack.home.engine.connect() as connection:
                if not connection.scalar(text(emitted), names):
                    return None
                if row := connection.execute(text(made), names).first():
                    return Run(dag, *row)
            time.sleep(POLL_SECONDS)
        raise Terminal(f"The event of {run.dag} {run.run_id} started no run of {dag} within {EVENT_TIMEOUT:.0f} s.")

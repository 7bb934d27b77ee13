"""DAG runs as Airflow's metadata has them: ids, states, durations, last errors."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from infra.workspace import Workspace
from rapport.stack.airflow_home import AirflowHome


@dataclass(frozen=True)
class Run:
    """A DAG run by its names."""

    dag: str
    run_id: str
    night: str
    number: int


def nightly_runs(home: AirflowHome, condition: str, **values: Any) -> list[Run]:
    """Return the nightly runs that meet a condition, oldest first."""
    query = f"SELECT run_id, partition_key, id FROM dag_run WHERE dag_id = 'nightly' AND {condition} ORDER BY id"
    with home.engine.connect() as connection:
        return [Run("nightly", *row) for row in connection.execute(text(query), values)]


def last_error(home: AirflowHome, run: Run, task: str, attempt: int) -> str:
    """Return the last error of a task's log as one sentence, with where the log lies."""
    folder = home.folder / "logs" / f"dag_id={run.dag}" / f"run_id={run.run_id}" / f"task_id={task}"
    log = folder / f"attempt={attempt}.log"
    entries = (
        [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")] if log.exists() else []
    )
    details = [entry["error_detail"] for entry in entries if entry.get("error_detail")]
    return f"{details[-1][0]['exc_value']} (log: {log})" if details else f"log: {log}"


def newest_runs(ws: Workspace, limit: int = 20) -> list[dict[str, Any]]:
    """Return the newest runs of the company's DAGs, newest first; empty before the first night."""
    home = AirflowHome(ws)
    if not home.exists():
        return []
    query = (
        "SELECT dag_id, run_id, partition_key, state, start_date, end_date FROM dag_run ORDER BY id DESC LIMIT :limit"
    )
    with home.engine.connect() as connection:
        rows = connection.execute(text(query), {"limit": limit}).all()
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

"""One night, or several, run by Airflow's scheduler while somebody looks on: ``make nightly``."""

import json
from datetime import date
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from rich.console import Console
from sqlalchemy import text

from infra.workspace import Workspace
from rapport.stack.airflow_home import ADMIN
from rapport.stack.airflow_processes import running_airflow
from rapport.stack.ownership import Stack
from rapport.stack.ports import LOOPBACK
from rapport.stack.runs import nightly_runs
from rapport.stack.watch import Watch
from rapport_feast.errors import Terminal


def run_night(ws: Workspace, night: date, console: Console) -> int:
    """Run a night through the scheduler and return the exit code: 0 if all of its runs succeeded.

    Raises
    ------
    Rejected
        The running stack has other settings.
    Terminal
        Airflow does not start, or a process of it ends.
    """
    with running_airflow(ws, console) as stack:
        run_id = trigger(stack, "nightly", night)
        return Watch(stack, console).follow(nightly_runs(stack.home, "run_id = :run", run=run_id))


def backfill(ws: Workspace, first: date, last: date, console: Console) -> int:
    """Run nights in order by Airflow's back-fill, also those that ran before, and return the exit code.

    Raises
    ------
    Rejected
        The running stack has other settings.
    Terminal
        Airflow refused the back-fill.
    """
    with running_airflow(ws, console) as stack:
        span = ["--from-date", str(first), "--to-date", str(last)]
        order = ["--max-active-runs", "1", "--reprocess-behavior", "completed"]
        with stack.home.engine.connect() as connection:
            before = connection.scalar(text("SELECT coalesce(max(id), 0) FROM dag_run"))
        stack.home.run(["backfill", "create", "--dag-id", "nightly", *span, *order])
        return Watch(stack, console).follow(
            nightly_runs(stack.home, "run_type = 'backfill' AND id > :before", before=before)
        )


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

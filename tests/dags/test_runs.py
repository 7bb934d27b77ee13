"""Real nights: Airflow's scheduler runs the real DAG files on a small simulated company."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import text

from infra.workspace import Workspace
from rapport.stack.airflow_home import AirflowHome
from rapport.stack.airflow_processes import running_airflow
from rapport.stack.night import backfill, run_night
from rapport.stack.runs import newest_runs, nightly_runs
from rapport.stack.watch import Watch
from rapport.world.run import ensure
from tests.dags.conftest import LAST_NIGHT
from tests.run_nights import again, digests, run
from validation.sources.coverage import last_night

pytestmark = pytest.mark.slow
TASKS = {"ingest", "gate", "build", "spark_check", "publish", "close"}


def query(ws: Workspace, sql: str) -> list[Any]:
    """Ask the metadata of the company's Airflow."""
    with AirflowHome(ws).engine.connect() as connection:
        return list(connection.execute(text(sql)).all())


def states(ws: Workspace, dag: str) -> list[tuple[str, str]]:
    """Return night and state of the runs of a DAG, oldest first."""
    return [(run["partition_key"], run["state"]) for run in reversed(newest_runs(ws)) if run["dag"] == dag]


@pytest.mark.assure
@pytest.mark.row("R50")
@pytest.mark.timeout(600)
def test_a_night_and_the_same_night_again(
    company: Callable[..., Workspace], capsys: pytest.CaptureFixture[str]
) -> None:
    ws = company()
    ensure(ws)
    assert run_night(ws, LAST_NIGHT, Console()) == 0
    assert "nightly.ingest" in capsys.readouterr().out
    assert states(ws, "parity") == [(str(LAST_NIGHT), "success")]
    # Nothing drifted: no event, and so no retraining.
    assert states(ws, "drift") == [(str(LAST_NIGHT), "success")]
    assert query(ws, "SELECT count(*) FROM asset_event WHERE source_dag_id = 'drift'") == [(0,)]
    assert states(ws, "retrain") == []

    before = digests(ws)
    assert run_night(ws, LAST_NIGHT, Console()) == 0
    assert digests(ws) == before

    listed = json.loads(AirflowHome(ws).run(["dags", "list-runs", "nightly", "-o", "json"]).splitlines()[-1])
    assert [run["state"] for run in listed] == ["success", "success"]
    logs = Path(AirflowHome(ws).folder / "logs").glob(f"dag_id=nightly/run_id={listed[0]['run_id']}/task_id=*/*.log")
    assert {log.parent.name.removeprefix("task_id=") for log in logs} >= TASKS


@pytest.mark.assure
@pytest.mark.timeout(600)
def test_backfill_gives_the_digests_of_nights_run_one_by_one(company: Callable[..., Workspace], tmp_path: Path) -> None:
    ws = company(("shop", "consents", "logins"), customers=60, days=14)
    ensure(ws)
    last = last_night(ws)
    nights = [last - timedelta(days=2), last - timedelta(days=1), last]
    assert backfill(ws, nights[0], last, Console()) == 0
    assert states(ws, "nightly") == [(str(night), "success") for night in nights]
    assert query(ws, "SELECT count(*) FROM backfill WHERE completed_at IS NULL") == [(0,)]

    one_by_one = again(ws, tmp_path / "one_by_one")
    run(one_by_one, nights)
    assert digests(one_by_one) == digests(ws)
    run(one_by_one, [nights[1]])
    assert digests(one_by_one) == digests(ws)


@pytest.mark.assure
@pytest.mark.timeout(600)
def test_drift_emits_one_event_and_the_retraining_names_it(company: Callable[..., Workspace]) -> None:
    ws = company(customers=1500, days=60, drift_from_day=45)
    ensure(ws)
    last = date(2026, 5, 25) + timedelta(days=59)
    assert run_night(ws, last - timedelta(days=15), Console()) == 0
    assert run_night(ws, last, Console()) == 0
    events = query(ws, "SELECT source_run_id, partition_key FROM asset_event WHERE source_dag_id = 'drift'")
    assert [key for _, key in events] == [str(last)]
    assert states(ws, "retrain") == [(str(last), "success")]
    consumed = query(
        ws,
        """SELECT e.source_run_id FROM dagrun_asset_event c JOIN asset_event e ON e.id = c.event_id
           JOIN dag_run r ON r.id = c.dag_run_id WHERE r.dag_id = 'retrain'""",
    )
    assert consumed == [(events[0][0],)]


@pytest.mark.timeout(300)
def test_a_run_without_a_night_says_so(company: Callable[..., Workspace], capsys: pytest.CaptureFixture[str]) -> None:
    ws, console = company(), Console()
    with running_airflow(ws, console) as stack:
        stack.home.run(["dags", "trigger", "nightly", "--run-id", "no_night"])
        assert Watch(stack, console).follow(nightly_runs(stack.home, "run_id = :run", run="no_night")) == 1
    assert "partition_key: expected the night as YYYY-MM-DD, found none." in capsys.readouterr().out

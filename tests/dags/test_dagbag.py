"""The DAG files as Airflow reads them: no errors, quick, owned, tagged, documented, and nothing heavy imported."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from infra.workspace import Workspace
from rapport.stack.airflow_home import AirflowHome
from rapport.stack.ports import free_port

TAGS = {"ring", "watch", "training"}
HEAVY = {
    "deltalake", "duckdb", "evidently", "feast", "great_expectations", "ibis", "lightgbm", "matplotlib", "mlflow",
    "numpy", "pandas", "pyarrow", "pyspark", "redis", "scipy", "sklearn", "xgboost",
}  # fmt: skip
READ = """
import json, sys
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
before = set(sys.modules)
bag = DagBag(sys.argv[1])
print("\\n" + json.dumps({
    "errors": bag.import_errors,
    "seconds": {stat.file: stat.duration.total_seconds() for stat in bag.dagbag_stats},
    "imported": sorted({name.split(".")[0] for name in set(sys.modules) - before}),
    "dags": {dag.dag_id: {
        "owners": sorted({task.owner for task in dag.tasks}), "tags": sorted(dag.tags), "doc": dag.doc_md,
        "tasks": len(dag.tasks), "retries": sorted({task.retries for task in dag.tasks}),
        "active": dag.max_active_runs, "catchup": dag.catchup,
    } for dag in bag.dags.values()},
}))
"""


@pytest.fixture
def bag(company: Callable[..., Workspace]) -> dict[str, Any]:
    """Return what a fresh process finds when it reads the DAG files."""
    environment = AirflowHome(company()).environment(free_port())
    folder = environment["AIRFLOW__CORE__DAGS_FOLDER"]
    done = subprocess.run(
        [sys.executable, "-c", READ, folder], env=environment, capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.row("R50")
def test_dags_are_sound(bag: dict[str, Any]) -> None:
    assert bag["errors"] == {}
    assert set(bag["dags"]) == {"nightly", "parity", "drift", "retrain"}
    assert not HEAVY & set(bag["imported"])
    assert all(seconds < 1 for seconds in bag["seconds"].values()), bag["seconds"]
    for name, dag in bag["dags"].items():
        assert dag["owners"] == ["rapport"], name
        assert dag["tags"], name
        assert set(dag["tags"]) <= TAGS, name
        assert len(dag["doc"]) > 40, name
        assert dag["retries"] == [1], name
        assert dag["active"] == 1, name
        assert not dag["catchup"], name


def test_a_night_has_at_most_twelve_tasks(bag: dict[str, Any]) -> None:
    assert sum(bag["dags"][name]["tasks"] for name in ("nightly", "parity", "drift")) <= 12

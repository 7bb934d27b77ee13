"""Did the company drift? Runs after each closed night; a yes emits one event, on which the retraining is scheduled."""

from typing import Any

from airflow.sdk import Asset, PartitionedAssetTimetable, dag
from airflow.sdk.exceptions import AirflowSkipException

from dags.steps import COMPANY, SETTINGS, night, step, workspace

NIGHT = Asset(f"rapport://{COMPANY.name}/night")
DRIFT = Asset(f"rapport://{COMPANY.name}/drift")


@step
def decide() -> dict[str, Any]:
    from training.retrain import decide as run

    return run(workspace(), night())


@step
def announce(decision: dict[str, Any]) -> str:
    if decision["verdict"] != "yes":
        raise AirflowSkipException(f"No retraining, the verdict is {decision['verdict']!r}: {decision['reason']}")
    return str(night())


@dag(schedule=PartitionedAssetTimetable(assets=NIGHT), tags=["watch"], doc_md=__doc__, **SETTINGS)
def drift() -> None:
    announce.override(outlets=[DRIFT])(decide())


drift()

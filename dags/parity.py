"""Is what was served what the facts say? Runs after each closed night; a mismatch fails the run, with its causes."""

from typing import Any

from airflow.sdk import Asset, PartitionedAssetTimetable, dag
from airflow.sdk.exceptions import AirflowFailException

from dags.steps import COMPANY, SETTINGS, night, step, workspace

NIGHT = Asset(f"rapport://{COMPANY.name}/night")


@step
def judge() -> dict[str, Any]:
    from features.parity.report import measure, sentence

    report = measure(workspace(), night())
    if report["verdict"] in {"mismatch", "overdue"}:
        raise AirflowFailException(f"{sentence(report)} See {report['plot']}.")
    # The features one by one stay in the report: what tasks hand on is small.
    return {"verdict": report["verdict"], "reason": sentence(report), "plot": report["plot"]}


@dag(schedule=PartitionedAssetTimetable(assets=NIGHT), tags=["watch"], doc_md=__doc__, **SETTINGS)
def parity() -> None:
    judge()


parity()

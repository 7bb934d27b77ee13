"""Retraining that a drift asked for: every model again, each run naming the event's run as its trigger."""

from typing import Any

from airflow.sdk import Asset, PartitionedAssetTimetable, dag, get_current_context

from dags.steps import COMPANY, SETTINGS, night, run_id, step, workspace

DRIFT = Asset(f"rapport://{COMPANY.name}/drift")


@step
def train(model: str) -> dict[str, Any]:
    from training.run import train as run

    cause, asked_by = trigger()
    return run(workspace(), model, night(), trigger=cause, run=asked_by)


def trigger() -> tuple[str, str]:
    """Return what started this run and which run asked for it: the drift run of the event, or a person's own run."""
    events = get_current_context()["triggering_asset_events"][DRIFT]
    return ("drift", str(events[-1].source_run_id)) if events else ("manual", run_id())


@dag(schedule=PartitionedAssetTimetable(assets=DRIFT), tags=["training"], doc_md=__doc__, **SETTINGS)
def retrain() -> None:
    for model in COMPANY.models:
        train.override(task_id=f"train_{model.name}")(model.name)


retrain()

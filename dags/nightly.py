"""The nightly ring as an Airflow DAG: one run is one night, named by its partition key."""

from typing import Any

from airflow.sdk import Asset, CronPartitionTimetable, dag

from dags.steps import COMPANY, SETTINGS, night, run_id, step, workspace

NIGHT = Asset(f"rapport://{COMPANY.name}/night")
# Midnight two hours behind UTC is 02:00 UTC: the sources have had time to deliver, and the ticks that a back-fill walks
# still carry the plain date of their night.
SCHEDULE = CronPartitionTimetable("0 0 * * *", timezone="Etc/GMT+2", run_offset=-1, key_format="%Y-%m-%d")


@step
def ingest() -> dict[str, Any]:
    from validation.bronze.ingest import ingest as run

    return run(workspace(), night(), run=run_id())


@step
def gate() -> dict[str, Any]:
    from validation.gate.run import gate as run

    return run(workspace(), night(), run=run_id())


@step
def build() -> dict[str, Any]:
    from features.compute.build import build as run

    return run(workspace(), night(), run=run_id())


@step
def spark_check() -> dict[str, Any]:
    from features.compute.spark_check import check_on_spark

    ws = workspace()
    if ws.settings.engine == "spark":
        return {"checked": False, "reason": "Spark built every group itself."}
    return check_on_spark(ws, night())


@step
def publish() -> dict[str, Any]:
    from features.store.publish import publish as run
    from validation.bronze.event_log import release

    ws = workspace()
    found = run(ws, night(), run=run_id())
    return found | {"released": release(ws, night())}


@step
def train(model: str) -> dict[str, Any]:
    from training.run import train as run

    return run(workspace(), model, night(), trigger="nightly", run=run_id())


@step
def close() -> str:
    return str(night())


@dag(schedule=SCHEDULE, tags=["ring"], doc_md=__doc__, **SETTINGS)
def nightly() -> None:
    models = [train.override(task_id=f"train_{model.name}")(model.name) for model in COMPANY.models]
    built = build()
    ingest() >> gate() >> built >> [publish(), spark_check(), *models] >> close.override(outlets=[NIGHT])()


nightly()

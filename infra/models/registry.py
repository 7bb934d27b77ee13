"""The model registry: runs, versions and aliases in MLflow, whose only address this is."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as installed
from pathlib import Path
from types import MappingProxyType
from typing import Any

from infra.models.bundle import CHAMPION, MANIFEST
from infra.models.manifest import Kind
from infra.state_files import digest_of, write_json
from infra.workspace import Workspace
from rapport_feast.locks import exclusive_lock


@dataclass(frozen=True)
class TrainingRun:
    """A training run as MLflow keeps it.

    Attributes
    ----------
    folder
        Files of the model.
    plots
        Folder of pictures.
    native
        The library's own model, or None where several files make it.
    inputs
        Names of the features, in order.
    """

    name: str
    kind: Kind
    folder: Path
    plots: Path
    native: Any
    inputs: Sequence[str]
    params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def registered_name(ws: Workspace, name: str) -> str:
    """Return the name in MLflow, which companies may share."""
    return f"{ws.company.name}.{name}"


def client(ws: Workspace) -> Any:
    """Return MLflow's client on the company's database."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    mlflow.set_tracking_uri(ws.metadata_url("mlflow"))
    # The first client makes the tables, and models are trained side by side.
    with exclusive_lock(ws.folder("mlflow") / "tables.lock"):
        return mlflow.MlflowClient()


def register(ws: Workspace, entry: TrainingRun) -> tuple[str, str]:
    """Log a run and register its model.

    Returns
    -------
    tuple of str
        Id of the run and the new version.
    """
    import mlflow

    api, name = client(ws), registered_name(ws, entry.name)
    experiment = api.get_experiment_by_name(name)
    where = (ws.folder("mlflow") / "artifacts" / entry.name).as_uri()
    experiment_id = experiment.experiment_id if experiment else api.create_experiment(name, artifact_location=where)
    with mlflow.start_run(experiment_id=experiment_id) as run:
        mlflow.log_params({key: str(value)[:500] for key, value in entry.params.items()})
        mlflow.log_metrics(dict(entry.metrics))
        mlflow.set_tags(dict(entry.tags))
        mlflow.log_artifacts(str(entry.plots), "plots")
        source, model_id = _log_model(entry)
        if not api.search_registered_models(f"name = '{name}'"):
            api.create_registered_model(name)
        found = api.create_model_version(
            name, source or f"{run.info.artifact_uri}/model", run.info.run_id, model_id=model_id
        )
    return run.info.run_id, str(found.version)


def _log_model(entry: TrainingRun) -> tuple[str | None, str | None]:
    """Log the model by its flavour, with requirements and signature stated: inferring them takes ten seconds."""
    import mlflow

    if entry.native is None:
        mlflow.log_artifacts(str(entry.folder), "model")
        return None, None
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    signature = ModelSignature(Schema([ColSpec("double", name) for name in entry.inputs]), Schema([ColSpec("double")]))
    requirements = [f"{entry.kind}=={installed(entry.kind)}"]
    if entry.kind == "xgboost":
        import mlflow.xgboost

        logged = mlflow.xgboost.log_model(
            entry.native, name="model", signature=signature, pip_requirements=requirements, model_format="ubj"
        )
    else:
        import mlflow.lightgbm

        logged = mlflow.lightgbm.log_model(
            entry.native, name="model", signature=signature, pip_requirements=requirements
        )
    return logged.model_uri, logged.model_id


def set_alias(ws: Workspace, name: str, alias: str, version: str) -> None:
    """Give a version an alias in MLflow: ``champion`` or ``challenger``."""
    client(ws).set_registered_model_alias(registered_name(ws, name), alias, version)


def set_champion(ws: Workspace, name: str, version: str) -> None:
    """Let a published version serve: ``champion.json`` is replaced in one step, then MLflow's alias follows."""
    digest = digest_of(ws.folder("models") / name / version / MANIFEST)
    write_json(ws.folder("models") / name / CHAMPION, {"version": version, "digest": digest})
    set_alias(ws, name, "champion", version)

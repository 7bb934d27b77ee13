"""The model registry: runs, versions and aliases in MLflow, whose only address this is."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version as installed
from pathlib import Path
from types import MappingProxyType
from typing import Any

from infra.models.bundle import CHAMPION, MANIFEST, version_folder
from infra.models.errors import NotRegistered, RegistryRefused, RegistryUnavailable
from infra.models.manifest import Kind
from infra.state_files import digest_of, write_json
from infra.workspace import Workspace
from rapport_feast.errors import one_line
from rapport_feast.locks import exclusive_lock

UNKNOWN = {"RESOURCE_DOES_NOT_EXIST"}
PASSING = {"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}
MAX_PARAM = 500
"""Characters of a parameter that MLflow keeps."""


@dataclass(frozen=True)
class TrainingRun:
    """A training run as MLflow keeps it.

    Attributes
    ----------
    name, kind
        Of the model, and what its files are.
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


@contextmanager
def mlflow_errors() -> Iterator[None]:
    """Say MLflow's errors again by what a caller can do about them.

    Raises
    ------
    NotRegistered, RegistryUnavailable, RegistryRefused
        By the code of MLflow's error.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        sentence = f"MLflow: {one_line(error)}"
        if error.error_code in UNKNOWN:
            raise NotRegistered("MLflow", "a run, model and version that it knows", one_line(error)) from error
        if error.error_code in PASSING:
            raise RegistryUnavailable(sentence) from error
        raise RegistryRefused(sentence) from error


def register(ws: Workspace, training: TrainingRun) -> tuple[str, str]:
    """Log a run and register its model.

    Returns
    -------
    tuple of str
        Id of the run and the new version.

    Raises
    ------
    RegistryUnavailable, RegistryRefused
        As MLflow says.
    """
    import mlflow

    api, name = client(ws), registered_name(ws, training.name)
    with mlflow_errors(), mlflow.start_run(experiment_id=_experiment(ws, api, training.name)) as run:
        mlflow.log_params({key: str(value)[:MAX_PARAM] for key, value in training.params.items()})
        mlflow.log_metrics(dict(training.metrics))
        mlflow.set_tags(dict(training.tags))
        mlflow.log_artifacts(str(training.plots), "plots")
        source, model_id = _log_model(training)
        if not api.search_registered_models(f"name = '{name}'"):
            api.create_registered_model(name)
        version = api.create_model_version(
            name, source or f"{run.info.artifact_uri}/model", run.info.run_id, model_id=model_id
        )
    return run.info.run_id, str(version.version)


def _experiment(ws: Workspace, api: Any, name: str) -> str:
    """Return the id of a model's experiment, made where there is none; its artefacts lie in the company's state."""
    experiment = api.get_experiment_by_name(registered_name(ws, name))
    if experiment:
        return str(experiment.experiment_id)
    artifacts = (ws.folder("mlflow") / "artifacts" / name).as_uri()
    return str(api.create_experiment(registered_name(ws, name), artifact_location=artifacts))


def _log_model(training: TrainingRun) -> tuple[str | None, str | None]:
    """Log the model by its flavour, with requirements and signature stated: inferring them takes ten seconds."""
    import mlflow

    if training.native is None:
        mlflow.log_artifacts(str(training.folder), "model")
        return None, None
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    inputs = Schema([ColSpec("double", name) for name in training.inputs])
    options = {
        "name": "model",
        "signature": ModelSignature(inputs, Schema([ColSpec("double")])),
        "pip_requirements": [f"{training.kind}=={installed(training.kind)}"],
    }
    if training.kind == "xgboost":
        import mlflow.xgboost

        logged = mlflow.xgboost.log_model(training.native, model_format="ubj", **options)
    else:
        import mlflow.lightgbm

        logged = mlflow.lightgbm.log_model(training.native, **options)
    return logged.model_uri, logged.model_id


def set_alias(ws: Workspace, name: str, alias: str, version: str) -> None:
    """Give a version an alias in MLflow: ``champion`` or ``challenger``.

    Raises
    ------
    NotRegistered
        MLflow has no such model or version.
    """
    api = client(ws)
    with mlflow_errors():
        api.set_registered_model_alias(registered_name(ws, name), alias, version)


def set_champion(ws: Workspace, name: str, version: str) -> None:
    """Let a published version serve: ``champion.json`` is replaced in one step, then MLflow's alias follows.

    Raises
    ------
    NotRegistered
        MLflow has no such model or version.
    """
    digest = digest_of(version_folder(ws, name, version) / MANIFEST)
    write_json(ws.folder("models") / name / CHAMPION, {"version": version, "digest": digest})
    set_alias(ws, name, "champion", version)

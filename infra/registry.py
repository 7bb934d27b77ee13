"""The model registry: MLflow is the source of truth, and each version is published as a folder of data-only files.

Training records runs here and sets the champion; serving and drift read the folders, for which MLflow is not imported.
``<models>/<name>/<version>/manifest.json`` names every file with its digest, ``champion.json`` the manifest's.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as installed
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.errors import Terminal
from infra.locks import alone
from infra.workspace import Workspace

MANIFEST = "manifest.json"
CHAMPION = "champion.json"
STATUS = "status.json"
Kind = Literal["xgboost", "lightgbm", "lightgbm_policy"]


class Part(BaseModel):
    """A part of a manifest: frozen, and nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Feature(Part):
    """An input of a model; a text is encoded as its place among the categories."""

    ref: str
    dtype: Literal["int64", "float64", "string"]
    categories: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The feature without its view: the column in a training set."""
        return self.ref.partition(":")[2]


class Manifest(Part):
    """What a published version says about itself."""

    name: str
    version: str
    recipe: str
    entity: str
    kind: Kind
    features: tuple[Feature, ...]
    files: Mapping[str, str]
    actions: tuple[str, ...] = ()
    calibration: Mapping[str, float] | None = None
    metric: str
    value: float
    interval: tuple[float, float]
    baseline: float
    rows: int
    night: str
    trained_at: str
    run_id: str
    dataset_digest: str

    def summary(self) -> dict[str, Any]:
        """Return what ``status.json`` says about a version."""
        return self.model_dump(mode="json", include={"version", "metric", "value", "interval", "baseline", "rows"})


@dataclass(frozen=True)
class Entry:
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


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def registered_name(ws: Workspace, name: str) -> str:
    """Return the name in MLflow, which companies may share."""
    return f"{ws.company.name}.{name}"


def client(ws: Workspace) -> Any:
    """Return MLflow's client on the company's database."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    mlflow.set_tracking_uri(ws.metadata_url("mlflow"))
    # The first client makes the tables, and models are trained side by side.
    with alone(ws.folder("mlflow") / "tables.lock"):
        return mlflow.MlflowClient()


def record(ws: Workspace, entry: Entry) -> tuple[str, str]:
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


def _log_model(entry: Entry) -> tuple[str | None, str | None]:
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


def publish_version(ws: Workspace, manifest: Manifest, folder: Path) -> str:
    """Publish a version's files and manifest as one folder, whole or not at all.

    Returns
    -------
    str
        Digest of the manifest.

    Raises
    ------
    Terminal
        The version is there already, or a file differs from its digest in the manifest.
    """
    home = ws.folder("models") / manifest.name
    home.mkdir(exist_ok=True)
    target = home / manifest.version
    if target.exists():
        raise Terminal(f"Model {manifest.name} version {manifest.version} is published already.")
    staged = Path(tempfile.mkdtemp(prefix=".staged-", dir=home))
    for name, digest in manifest.files.items():
        shutil.copyfile(folder / name, staged / name)
        _refuse_changed(staged / name, digest)
    (staged / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    staged.chmod(0o755)
    staged.rename(target)
    return digest_of(target / MANIFEST)


def set_champion(ws: Workspace, name: str, version: str) -> None:
    """Let a published version serve: ``champion.json`` is replaced in one step, then MLflow's alias follows."""
    digest = digest_of(ws.folder("models") / name / version / MANIFEST)
    write_json(ws.folder("models") / name / CHAMPION, {"version": version, "digest": digest})
    set_alias(ws, name, "champion", version)


def champion(ws: Workspace, name: str) -> Manifest | None:
    """Return the manifest of the version that serves, all digests checked; None if no version does.

    Raises
    ------
    Terminal
        A file is not the one that was published.
    """
    chosen = read_json(ws.folder("models") / name / CHAMPION)
    if chosen is None:
        return None
    folder = version_folder(ws, name, chosen["version"])
    _refuse_changed(folder / MANIFEST, chosen["digest"])
    found = published(ws, name, chosen["version"])
    for file, digest in found.files.items():
        _refuse_changed(folder / file, digest)
    return found


def published(ws: Workspace, name: str, version: str) -> Manifest:
    """Return the manifest of a published version.

    Raises
    ------
    Terminal
        It is not in the form of a manifest.
    """
    try:
        return Manifest.model_validate_json((version_folder(ws, name, version) / MANIFEST).read_bytes())
    except ValidationError as error:
        raise Terminal(
            f"The manifest of {name} version {version} cannot be read: {error.errors()[0]['msg']}."
        ) from None


def versions(ws: Workspace) -> list[Manifest]:
    """Return the manifests of every published version of every model, oldest first."""
    found = sorted(
        (ws.folder("models")).glob(f"*/*/{MANIFEST}"), key=lambda path: (path.parts[-3], int(path.parts[-2]))
    )
    return [published(ws, path.parts[-3], path.parts[-2]) for path in found]


def version_folder(ws: Workspace, name: str, version: str) -> Path:
    """Return the folder of a published version."""
    return ws.folder("models") / name / version


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file in one step, so that a reader sees the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as staged:
        json.dump(content, staged, indent=2, default=str)
    os.chmod(staged.name, 0o644)
    os.replace(staged.name, path)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file, None if there is none."""
    return json.loads(path.read_bytes()) if path.exists() else None


def _refuse_changed(path: Path, digest: str) -> None:
    if not path.exists() or digest_of(path) != digest:
        raise Terminal(f"{path.parent.parent.name}/{path.parent.name}/{path.name} is not the file that was published.")

"""Train one model for one night: due or not, enough data or not, fit, evaluate, gate, register, publish.

Comes after the build; what it publishes serving reads, and ``retrain.py`` watches. Every ending leaves a reason.
"""

import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.company.company import Model as ModelConfig
from infra.models import registry
from infra.models.bundle import LAST, STATUS, champion, publish_version
from infra.models.manifest import Manifest
from infra.state_files import digest_of, read_json, write_json
from infra.telemetry import Log
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from rapport_feast.locks import exclusive_lock
from training.inputs import inputs_digest

if TYPE_CHECKING:
    import pandas as pd

    from training.data.dataset import Dataset
    from training.data.label import Label
    from training.data.split import Split

LOG = Log(__name__)

RETRAIN_EVERY = 28
"""Nights after which a version is due for a successor, unless the model's options say otherwise."""
MIN_ROWS, MIN_OF_CLASS = 200, 20


def train(ws: Workspace, model_name: str, night: date, trigger: str = "nightly", run: str = "") -> dict[str, Any]:
    """Train a model if it is due.

    Parameters
    ----------
    trigger
        ``nightly`` trains when the last version is ``retrain_every`` nights old; ``drift`` and ``manual`` at once.
    run
        The run that asked, kept with the model as what triggered it.

    Returns
    -------
    dict
        ``{"skipped": True, "reason": ...}``, or version, alias, metric, value, interval, baseline, rows and reason.

    Raises
    ------
    Rejected
        The company has no such model, or its options make no sense.
    """
    config = _config(ws, model_name)
    # A night, its repetition and a back-fill may ask at once: the later one finds what the first has trained.
    with exclusive_lock(ws.folder(f"models/{config.name}") / "train.lock"):
        result = _train(ws, config, night, trigger, run)
    if result.get("skipped"):
        LOG.info("not trained", model=config.name, night=night)
    else:
        LOG.info("trained", model=config.name, night=night, version=result["version"], metric=result["metric"])
    return result


def _train(ws: Workspace, config: ModelConfig, night: date, trigger: str, run: str) -> dict[str, Any]:
    if reason := _not_due(ws, config, night, trigger):
        return {"skipped": True, "reason": reason}
    from training.data.labels import label_named
    from training.data.spine import build_spine, missing_facts

    label = label_named(ws.company, config.label, config.options)
    if missing := missing_facts(ws, label):
        return _skip(
            ws,
            config,
            f"Not trained: the company has no {' and no '.join(missing)}"
            + (", so no action was logged with its propensity." if "decisions" in missing else "."),
        )
    from training.data.dataset import build_dataset

    split = _split(config, build_spine(ws, label, night))
    if reason := _too_few(split, label):
        return _skip(ws, config, reason)
    data = build_dataset(ws, config.name, label, split.joined(), night, run)
    inputs = inputs_digest(config.model_dump(mode="json"), data.digest)
    last = read_json(_home(ws, config) / LAST)
    if ws.settings.skip_unchanged and last and last["inputs"] == inputs:
        return {"skipped": True, "reason": f"Inputs are those of version {last['version']}."}
    result = train_on(ws, config, label, data, night, {"trigger": trigger, "trigger_run": run, "night": str(night)})
    trained = {"version": result["version"], "night": str(night), "inputs": inputs}
    write_json(_home(ws, config) / LAST, trained)
    return result


def train_on(
    ws: Workspace, config: ModelConfig, label: "Label", data: "Dataset", night: date, tags: Mapping[str, str]
) -> dict[str, Any]:
    """Fit, judge, register and publish a model on a split data set.

    Parameters
    ----------
    tags
        What triggered the training; kept with the run in MLflow.

    Returns
    -------
    dict
        Version, alias, metric, value, interval, baseline, rows and reason.
    """
    from training.data.split import Split
    from training.experiment import fit

    split = Split.of(data.rows)
    with tempfile.TemporaryDirectory() as scratch:
        folder, plots = Path(scratch) / "model", Path(scratch) / "plots"
        folder.mkdir()
        plots.mkdir()
        experiment = fit(ws, config, label, data, split, plots)
        model, decision = experiment.model, experiment.decision
        files = {name: digest_of(folder / name) for name in model.save(folder)}
        run_id, version = registry.register(
            ws,
            registry.TrainingRun(
                name=config.name,
                kind=model.kind,
                folder=folder,
                plots=plots,
                native=model.native(),
                inputs=[feature.name for feature in experiment.features],
                params={**model.params, **config.options, **_rows_of(data, label, split), "features": len(data.types)},
                metrics=experiment.metrics(),
                tags={**tags, "reason": decision.reason, "dataset_digest": data.digest, "label": label.meaning},
            ),
        )
        manifest = experiment.manifest(ws, config, label, version, files, run_id, data.digest, night)
        publish_version(ws, manifest, folder)
    if decision.passed:
        registry.set_champion(ws, config.name, version)
    else:
        registry.set_alias(ws, config.name, "challenger", version)
    _write_status(ws, config, decision.reason, None if decision.passed else manifest)
    return {
        "skipped": False,
        "alias": decision.alias,
        "reason": decision.reason,
        "run_id": run_id,
        **manifest.summary(),
    }


def _rows_of(data: "Dataset", label: "Label", split: "Split") -> dict[str, Any]:
    """Return what the registry notes of the rows."""
    return {
        "label": label.name,
        "rows_train": len(split.train),
        "rows_calibration": len(split.calibration),
        "rows_test": len(split.test),
        "test_starts": split.test["event_time"].min(),
        "dataset_digest": data.digest,
    }


def _config(ws: Workspace, name: str) -> ModelConfig:
    for config in ws.company.models:
        if config.name == name:
            return config
    raise Rejected("model", f"one of {', '.join(m.name for m in ws.company.models) or 'none'}", repr(name))


def _home(ws: Workspace, config: ModelConfig) -> Path:
    return ws.folder("models") / config.name


def _not_due(ws: Workspace, config: ModelConfig, night: date, trigger: str) -> str:
    """Return why a nightly run has nothing to do, if so."""
    last = read_json(_home(ws, config) / LAST)
    if trigger != "nightly" or last is None or ws.lake.damaged(f"training_sets/{config.name}", night):
        return ""
    every = int(config.options.get("retrain_every", RETRAIN_EVERY))
    age = (night - date.fromisoformat(last["night"])).days
    return f"Version {last['version']} is {age} nights old; a new one is due after {every}." if age < every else ""


def _split(config: ModelConfig, rows: "pd.DataFrame") -> "Split":
    from training.data.split import TEST_SHARE, time_split

    options = config.options
    return time_split(rows, how=options.get("split", "time"), test_share=float(options.get("test_share", TEST_SHARE)))


def _too_few(split: "Split", label: "Label") -> str:
    """Return why a split cannot be learned from or tested on, if so."""
    for name, rows in (("train", split.train), ("test", split.test)):
        counts = rows["label"].value_counts()
        fewest = int(counts.min()) if len(counts) > 1 else 0
        if len(rows) < MIN_ROWS or (label.binary and fewest < MIN_OF_CLASS):
            kinds = f", {fewest} of the rarer outcome" if label.binary else ""
            wanted = f"{MIN_ROWS} rows" + (f" and {MIN_OF_CLASS} of each outcome" if label.binary else "")
            return f"Not trained: too few rows, the {name} slice holds {len(rows)}{kinds}, and {wanted} are needed."
    return ""


def _skip(ws: Workspace, config: ModelConfig, reason: str) -> dict[str, Any]:
    _write_status(ws, config, reason, None)
    return {"skipped": True, "reason": reason}


def _write_status(ws: Workspace, config: ModelConfig, reason: str, challenger: Manifest | None) -> None:
    serving = champion(ws, config.name)
    write_json(
        _home(ws, config) / STATUS,
        {
            "champion": serving.summary() if serving else None,
            "challenger": challenger.summary() if challenger else None,
            "reason": reason,
        },
    )

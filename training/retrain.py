"""Whether to retrain: the drift verdict of every model's entity, with its reason and report.

Comes after the night is published; a yes makes the drift DAG emit the event on which the retraining DAG runs.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.models.bundle import LAST, champion, published
from infra.models.manifest import Manifest
from infra.state_files import read_json, write_json
from infra.telemetry import Log
from infra.workspace import Workspace
from training.inputs import inputs_digest

if TYPE_CHECKING:
    from validation.watch.comparison import ColumnDrift
    from validation.watch.drift import Verdict

LOG = Log(__name__)

DRIFT = "drift.json"


def decide(ws: Workspace, night: date) -> dict[str, Any]:
    """Decide whether to retrain, and keep the verdict with its report.

    Returns
    -------
    dict
        ``verdict`` (``yes``, ``no``, ``too few rows``), ``at``, ``night``, ``report``, ``reason``, and the ``models``
        that a yes concerns; also in ``drift.json`` of the reports.
    """
    watched = _watched(ws)
    inputs = _inputs(ws, watched, night)
    newest = read_json(ws.folder("reports") / DRIFT)
    if ws.settings.skip_unchanged and newest and newest["night"] == str(night) and newest["inputs"] == inputs:
        return newest
    from training.drift import compare_windows

    folder = ws.folder("reports") / "drift" / str(night)
    by_entity = {entity: [m for m in watched if m.entity == entity] for entity in sorted({m.entity for m in watched})}
    verdicts = {
        entity: compare_windows(ws, entity, models, night, folder / entity) for entity, models in by_entity.items()
    }
    decision = _decision(verdicts, watched, folder)
    decision |= {"at": ws.clock.now().isoformat(), "night": str(night), "inputs": inputs}
    write_json(folder / DRIFT, decision)
    # A back-fill of an older night keeps its own report, and what is newest stays newest.
    if newest is None or newest["night"] <= str(night):
        write_json(ws.folder("reports") / DRIFT, decision)
    (LOG.warning if decision["models"] else LOG.info)("drift judged", night=night, verdict=decision["verdict"])
    return decision


def _watched(ws: Workspace) -> list[Manifest]:
    """Return the version of each model that is watched: the champion, or else the newest."""
    watched = []
    for config in ws.company.models:
        last = read_json(ws.folder("models") / config.name / LAST)
        if last:
            watched.append(champion(ws, config.name) or published(ws, config.name, last["version"]))
    return watched


def _decision(verdicts: Mapping[str, "Verdict"], watched: Sequence[Manifest], folder: Path) -> dict[str, Any]:
    if not verdicts:
        return {
            "verdict": "too few rows",
            "report": "",
            "models": [],
            "reason": "No model has been trained, so there is nothing to compare with.",
        }
    words = {verdict.verdict for verdict in verdicts.values()}
    overall = next(word for word in ("yes", "no", "too few rows") if word in words)
    reason = " ".join(f"{entity.capitalize()}s: {verdict.reason}" for entity, verdict in verdicts.items())
    models = [m.name for m in watched if any(_concerns(column, m) for column in verdicts[m.entity].drifted)]
    return {"verdict": overall, "report": str(folder), "models": models, "reason": reason}


def _concerns(drifted: "ColumnDrift", model: Manifest) -> bool:
    if drifted.kind == "feature":
        # The column may be called "<feature> is missing".
        return any(drifted.column.startswith(feature.name) for feature in model.features)
    return drifted.column.endswith(f" of {model.name}")


def _inputs(ws: Workspace, watched: Sequence[Manifest], night: date) -> str:
    """Return a digest of what decides the verdict: versions, code, and the commits of the views that are read."""
    tables = sorted({f"features/{feature.view}" for m in watched for feature in m.features})
    commits = [[str(c.nights), c.inputs] for t in tables for c in ws.lake.commits(t) if c.nights.first <= night]
    return inputs_digest(str(night), [(m.name, m.version) for m in watched], commits)

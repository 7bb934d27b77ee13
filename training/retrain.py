"""Whether to retrain: features, scores and labels of the last week against those of the training window.

Comes after the night is published; a yes makes the drift DAG emit the event on which the retraining DAG runs.

What is compared, and what not: one row per entity, so that rows are independent; whole weeks on both sides; the
reference never overlaps the current week, also on the night that trained. A column that was already moving inside the
training window (tenure, totals, windows still filling) must move clearly faster to count. Labels are compared only when
newer ones have matured than the model has seen.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from infra import state_files
from infra.clock import Nights
from infra.models import bundle, manifest
from infra.workspace import Workspace

if TYPE_CHECKING:
    from training.drift_windows import Windows
    from validation.watch.comparison import ColumnDrift, Kind
    from validation.watch.drift import Verdict

WEEK, REFERENCE_NIGHTS = 7, 28
DRIFT = "drift.json"
KEYS = {"customer": "customer_id", "ticket": "ticket_id"}


def decide(ws: Workspace, night: date) -> dict[str, Any]:
    """Decide whether to retrain, and keep the verdict with its report.

    Returns
    -------
    dict
        ``verdict`` (``yes``, ``no``, ``too few rows``), ``at``, ``night``, ``report``, ``reason``, and the ``models``
        that a yes concerns; also in ``drift.json`` of the reports.
    """
    trained = _trained(ws)
    inputs = _inputs(ws, trained, night)
    newest = state_files.read_json(ws.folder("reports") / DRIFT)
    if ws.settings.skip_unchanged and newest and newest["night"] == str(night) and newest["inputs"] == inputs:
        return newest
    folder = ws.folder("reports") / "drift" / str(night)
    verdicts = {
        entity: _compare(ws, entity, models, night, folder / entity) for entity, models in _by_entity(trained).items()
    }
    decision = _summary(verdicts, trained, folder)
    decision |= {"at": ws.clock.now().isoformat(), "night": str(night), "inputs": inputs}
    state_files.write_json(folder / DRIFT, decision)
    if newest is None or newest["night"] <= str(night):
        state_files.write_json(ws.folder("reports") / DRIFT, decision)
    return decision


def windows_of(trained: date, night: date) -> "Windows":
    """Return the last week, and the four weeks up to the training night that lie before it."""
    from training.drift_windows import Windows
    from validation.watch.windows import whole_weeks

    current = Nights(night - timedelta(days=WEEK - 1), night)
    last = min(trained, current.first - timedelta(days=1))
    return Windows(whole_weeks(Nights(last - timedelta(days=REFERENCE_NIGHTS - 1), last)), current)


def _trained(ws: Workspace) -> list[manifest.Manifest]:
    """Return the version of each model that is watched: the champion, or else the newest."""
    found = []
    for config in ws.company.models:
        last = state_files.read_json(ws.folder("models") / config.name / "last.json")
        if last:
            found.append(bundle.champion(ws, config.name) or bundle.published(ws, config.name, last["version"]))
    return found


def _by_entity(trained: Sequence[manifest.Manifest]) -> dict[str, list[manifest.Manifest]]:
    return {entity: [m for m in trained if m.entity == entity] for entity in sorted({m.entity for m in trained})}


def _compare(ws: Workspace, entity: str, models: Sequence[manifest.Manifest], night: date, report: Path) -> "Verdict":
    from training.drift_windows import floors_of, sample
    from validation.watch.drift import compare

    windows = windows_of(max(date.fromisoformat(m.night) for m in models), night)
    features = list({f.ref: f for m in models for f in m.features}.values())
    reference, current = (sample(ws, KEYS[entity], features, nights) for nights in (windows.reference, windows.current))
    kinds: dict[str, Kind] = {f.name: "feature" for f in features}
    for model in models:
        if len(reference) and len(current) and bundle.champion(ws, model.name):
            kinds[f"score of {model.name}"] = "score"
            reference, current = (_scored(ws, model, rows) for rows in (reference, current))
    floors = floors_of(reference, windows, list(kinds)) if len(reference) else {}
    for model in models:
        old, new = _labels(ws, model, night)
        if len(new):
            kinds[f"label of {model.name}"] = "label"
            reference, current = (
                _beside(rows, f"label of {model.name}", y) for rows, y in ((reference, old), (current, new))
            )
    return compare(reference, current, kinds, report, floors=floors)


def _scored(ws: Workspace, model: manifest.Manifest, rows: pd.DataFrame) -> pd.DataFrame:
    """Add what a champion says: its probability, or the best expected reward."""
    from infra.models.encoding import encode
    from training.experiment import load

    said = load(ws, model).predict(encode(rows, model.features))
    return rows.assign(**{f"score of {model.name}": said if said.ndim == 1 else said.max(axis=1)})


def _labels(ws: Workspace, model: manifest.Manifest, night: date) -> tuple[pd.Series, pd.Series]:
    """Return the labels of the training set, and those that matured since; one row per entity on both sides."""
    from training.data.labels import label_named
    from training.data.spine import build_spine

    config = next(c for c in ws.company.models if c.name == model.name)
    label = label_named(config.label, config.options)
    empty = pd.Series(dtype="float64")
    trained = date.fromisoformat(model.night)
    # Labels that wait for an end are censored: a newer set holds other kinds of tickets, which is no drift.
    if label.horizon is None or (night - trained).days < WEEK:
        return empty, empty
    partition = Nights(trained, trained)
    old = (
        ws.lake.read(f"training_sets/{model.name}", partition)
        .select(["event_time", KEYS[model.entity], "label"])
        .to_pandas()
    )
    spine = build_spine(ws, label, night)
    new = spine[spine["event_time"] > old["event_time"].max()]
    old_labels, new_labels = (rows.groupby(KEYS[model.entity])["label"].last() for rows in (old, new))
    return old_labels, new_labels


def _beside(rows: pd.DataFrame, name: str, values: pd.Series) -> pd.DataFrame:
    """Add a column of other rows: columns are compared one by one, so it need not be of the same entities."""
    return pd.concat([rows.reset_index(drop=True), values.reset_index(drop=True).rename(name)], axis=1)


def _summary(verdicts: "dict[str, Verdict]", trained: Sequence[manifest.Manifest], folder: Path) -> dict[str, Any]:
    if not verdicts:
        return {
            "verdict": "too few rows",
            "report": "",
            "models": [],
            "reason": "No model has been trained, so there is nothing to compare with.",
        }
    said = {verdict.verdict for verdict in verdicts.values()}
    overall = next(word for word in ("yes", "no", "too few rows") if word in said)
    reason = " ".join(f"{entity.capitalize()}s: {verdict.reason}" for entity, verdict in verdicts.items())
    hit = [m.name for m in trained if any(_concerns(f, m) for f in verdicts[m.entity].drifted)]
    return {"verdict": overall, "report": str(folder), "models": hit, "reason": reason}


def _concerns(found: "ColumnDrift", model: manifest.Manifest) -> bool:
    if found.kind == "feature":
        return any(found.column.startswith(f.name) for f in model.features)
    return found.column.endswith(f" of {model.name}")


def _inputs(ws: Workspace, trained: Sequence[manifest.Manifest], night: date) -> str:
    """Return a digest of what decides the verdict: versions, code, and the commits of the views that are read."""
    tables = sorted({f"features/{f.ref.partition(':')[0]}" for m in trained for f in m.features})
    commits = [[str(c.nights), c.inputs] for t in tables for c in ws.lake.commits(t) if c.nights.first <= night]
    code = [state_files.digest_of(path) for path in sorted(Path(__file__).parent.glob("*.py"))]
    content = [str(night), [(m.name, m.version) for m in trained], commits, code]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()

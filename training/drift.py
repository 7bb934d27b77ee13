"""Features, scores and labels of the last week compared with those of the training window, for one entity.

One row per entity, so that rows are independent; whole weeks on both sides; the reference never overlaps the current
week, also on the night that trained. A column that was already moving inside the training window (tenure, totals,
windows still filling) must move clearly faster to count. Labels are compared only when newer ones have matured than the
model has seen.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pandas as pd

from features.declare.entity import CUSTOMER, TICKET
from infra.clock import Nights
from infra.models.manifest import Manifest
from infra.models.scorer import Scorer, champion_scorer
from infra.workspace import Workspace
from training.data.dataset import encode_frame
from training.data.labels import label_named
from training.data.spine import build_spine
from training.drift_windows import WEEK, floors_of, sample, windows_of
from validation.watch.comparison import Kind
from validation.watch.drift import Verdict, compare

KEYS = {entity.name: entity.key for entity in (CUSTOMER, TICKET)}


def compare_windows(ws: Workspace, entity: str, models: Sequence[Manifest], night: date, report: Path) -> Verdict:
    """Compare all columns of an entity's models; the report goes to the folder ``report``."""
    windows = windows_of(max(date.fromisoformat(m.night) for m in models), night)
    features = list({f.ref: f for m in models for f in m.features}.values())
    reference, current = (sample(ws, KEYS[entity], features, nights) for nights in (windows.reference, windows.current))
    kinds: dict[str, Kind] = {f.name: "feature" for f in features}
    for model in models:
        scorer = champion_scorer(ws, model.name) if len(reference) and len(current) else None
        if scorer:
            kinds[f"score of {model.name}"] = "score"
            reference, current = (_with_scores(scorer, rows) for rows in (reference, current))
    floors = floors_of(reference, windows, list(kinds)) if len(reference) else {}
    for model in models:
        column = f"label of {model.name}"
        old, new = _labels(ws, model, night)
        if len(new):
            kinds[column] = "label"
            reference, current = _with_column(reference, column, old), _with_column(current, column, new)
    return compare(reference, current, kinds, report, floors=floors)


def _with_scores(scorer: Scorer, rows: pd.DataFrame) -> pd.DataFrame:
    """Add the scores of a champion: its probability, or the best expected reward."""
    manifest = scorer.manifest
    scores = scorer.predict(encode_frame(rows, manifest.features))
    return rows.assign(**{f"score of {manifest.name}": scores.max(axis=1) if manifest.actions else scores})


def _labels(ws: Workspace, model: Manifest, night: date) -> tuple[pd.Series, pd.Series]:
    """Return the labels of the training set, and those that matured since; one row per entity on both sides."""
    config = next(config for config in ws.company.models if config.name == model.name)
    label = label_named(ws.company, config.label, config.options)
    empty = pd.Series(dtype="float64")
    trained = date.fromisoformat(model.night)
    # Labels that wait for an end are censored: a newer set holds other kinds of tickets, which is no drift.
    if label.horizon is None or (night - trained).days < WEEK:
        return empty, empty
    key = KEYS[model.entity]
    table = ws.lake.read(f"training_sets/{model.name}", Nights(trained, trained))
    old = table.select(["event_time", key, "label"]).to_pandas()
    spine = build_spine(ws, label, night)
    new = spine[spine["event_time"] > old["event_time"].max()]
    old_labels, new_labels = (rows.groupby(key)["label"].last() for rows in (old, new))
    return old_labels, new_labels


def _with_column(rows: pd.DataFrame, name: str, values: pd.Series) -> pd.DataFrame:
    """Add a column of other rows: columns are compared one by one, so it need not be of the same entities."""
    return pd.concat([rows.reset_index(drop=True), values.reset_index(drop=True).rename(name)], axis=1)

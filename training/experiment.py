"""One experiment: fit on the earlier slices, evaluate on the later one, let the gate decide."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from infra.company.company import Model as ModelConfig
from infra.models import bundle, manifest
from infra.models.arrays import Floats
from infra.models.calibration import Calibration
from infra.models.encoding import encode
from infra.workspace import Workspace
from training.data.dataset import Dataset, learn_features, to_slice
from training.data.label import Label
from training.data.split import Split
from training.evaluation import plots as pictures
from training.evaluation.baselines import best_action, logistic_baseline
from training.evaluation.evaluate import Evaluation, calibration_line, evaluate_policy, evaluate_scores
from training.gate import Decision, judge
from training.recipes.catalogue import recipe
from training.recipes.learner import Model, Slice


@dataclass(frozen=True)
class Experiment:
    """A fitted model with its evaluation and the gate's decision."""

    model: Model
    features: tuple[manifest.Feature, ...]
    evaluation: Evaluation
    decision: Decision
    slope: Calibration | None = None

    def metrics(self) -> dict[str, float]:
        """Return every figure with the ends of its interval, as MLflow keeps them."""
        found: dict[str, float] = {}
        for name, interval in self.evaluation.values.items():
            found |= {name: interval.value, f"{name}_lo": interval.low, f"{name}_hi": interval.high}
        if self.slope:
            found |= {"calibration_slope": self.slope.a, "calibration_intercept": self.slope.b}
        return {name: value for name, value in found.items() if np.isfinite(value)}

    def manifest(
        self,
        ws: Workspace,
        config: ModelConfig,
        label: Label,
        version: str,
        files: dict[str, str],
        run_id: str,
        dataset_digest: str,
        night: date,
    ) -> manifest.Manifest:
        """Return what the published folder says about itself."""
        scaled, figure = self.model.calibration, self.evaluation.model.interval()
        return manifest.Manifest(
            name=config.name,
            version=version,
            recipe=config.recipe,
            entity=label.entity.name,
            kind=self.model.kind,
            features=self.features,
            files=files,
            actions=self.model.actions,
            calibration={"a": scaled.a, "b": scaled.b} if scaled else None,
            metric=self.evaluation.metric,
            value=figure.value,
            interval=(figure.low, figure.high),
            baseline=self.evaluation.best_baseline[1].value,
            rows=self.evaluation.rows,
            night=str(night),
            trained_at=ws.clock.now().isoformat(),
            run_id=run_id,
            dataset_digest=dataset_digest,
        )


def fit(ws: Workspace, config: ModelConfig, label: Label, data: Dataset, split: Split, plots: Path) -> Experiment:
    """Fit a recipe on a split and judge it; pictures go to the folder ``plots``."""
    features = learn_features(data.types, split.train)
    train, calibration, test = (
        to_slice(rows, features, data.key) for rows in (split.train, split.calibration, split.test)
    )
    model = recipe(config.recipe)().fit(train, calibration)
    incumbent = _incumbent(ws, config.name, data, split)
    pictures.draw_importance(plots, [feature.name for feature in features], model.importance())
    if label.binary:
        found, slope = _evaluate_scores(model, train, test, incumbent, plots)
        return Experiment(model, features, found, judge(found), slope)
    found = evaluate_policy(test, choices(model, model.predict(test.x)), best_action(train), incumbent)
    pictures.draw_policy(plots, found)
    return Experiment(model, features, found, judge(found))


def _evaluate_scores(
    model: Model, train: Slice, test: Slice, incumbent: "Floats | np.ndarray | None", plots: Path
) -> tuple[Evaluation, Calibration]:
    scores = model.predict(test.x)
    majority = np.full(len(test), train.y.mean())
    baselines = {"majority": majority, "logistic on 5 features": logistic_baseline(train, test)}
    found = evaluate_scores(test, scores, baselines, incumbent)
    pictures.draw_scores(plots, test, {"model": scores, **baselines}, found)
    return found, calibration_line(scores, test.y)


def choices(model: Model, values: Floats) -> np.ndarray:
    """Return the action of the greatest expected reward; shape (rows,)."""
    return np.asarray(np.array(model.actions)[values.argmax(axis=1)], dtype=np.str_)


def load(ws: Workspace, manifest: manifest.Manifest) -> Model:
    """Load a published version."""
    scaled = Calibration(**manifest.calibration) if manifest.calibration else None
    folder = bundle.version_folder(ws, manifest.name, manifest.version)
    return recipe(manifest.recipe).load(folder, actions=manifest.actions, calibration=scaled)


def _incumbent(ws: Workspace, name: str, data: Dataset, split: Split) -> "np.ndarray | None":
    """Return what the champion says of the test slice, None if there is none or its features are no longer built."""
    manifest = bundle.champion(ws, name)
    if manifest is None or not {f.ref for f in manifest.features} <= set(data.types):
        return None
    model = load(ws, manifest)
    said = model.predict(encode(split.test, manifest.features))
    return choices(model, said) if manifest.actions else said

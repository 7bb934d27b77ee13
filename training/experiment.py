"""One experiment: fit on the earlier slices, evaluate on the later one, let the gate decide."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.company.company import Model as ModelConfig
from infra.models.arrays import Floats
from infra.models.calibration import Calibration
from infra.models.manifest import Feature, Manifest
from infra.models.scorer import champion_scorer
from infra.workspace import Workspace
from training.data.dataset import Dataset, encode_frame, learn_features, to_slice
from training.data.label import Label
from training.data.split import Split
from training.evaluation import plots as draw
from training.evaluation.baselines import best_action, logistic_baseline
from training.evaluation.evaluate import Evaluation, calibration_line, evaluate_policy, evaluate_scores
from training.gate import Decision, judge
from training.recipes.catalogue import recipe_named
from training.recipes.learner import Learner, Slice


@dataclass(frozen=True)
class Experiment:
    """A fitted model with its evaluation and the gate's decision.

    Attributes
    ----------
    line
        Slope and intercept of the outcome on the log odds, for probabilities.
    """

    model: Learner
    features: tuple[Feature, ...]
    evaluation: Evaluation
    decision: Decision
    line: Calibration | None = None

    def metrics(self) -> dict[str, float]:
        """Return every metric with the ends of its interval, as MLflow keeps them."""
        metrics: dict[str, float] = {}
        for name, interval in self.evaluation.values.items():
            metrics |= {name: interval.value, f"{name}_lo": interval.low, f"{name}_hi": interval.high}
        if self.line:
            metrics |= {"calibration_slope": self.line.a, "calibration_intercept": self.line.b}
        return {name: value for name, value in metrics.items() if np.isfinite(value)}

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
    ) -> Manifest:
        """Return what the published folder says about itself."""
        interval = self.evaluation.model.interval()
        return Manifest(
            name=config.name,
            version=version,
            recipe=config.recipe,
            entity=label.entity.name,
            kind=self.model.kind,
            features=self.features,
            files=files,
            actions=self.model.actions,
            calibration=self.model.calibration,
            metric=self.evaluation.metric,
            value=interval.value,
            interval=(interval.low, interval.high),
            baseline=self.evaluation.best_baseline[1].value,
            rows=self.evaluation.rows,
            night=str(night),
            trained_at=ws.clock.now().isoformat(),
            run_id=run_id,
            dataset_digest=dataset_digest,
        )


def fit(ws: Workspace, config: ModelConfig, label: Label, data: Dataset, split: Split, plots: Path) -> Experiment:
    """Fit a recipe on a split and judge it; the figures go to the folder ``plots``."""
    features = learn_features(data.types, split.train)
    train, calibration, test = (
        to_slice(rows, features, data.key) for rows in (split.train, split.calibration, split.test)
    )
    model = recipe_named(ws.company, config.recipe)().fit(train, calibration)
    incumbent = _incumbent(ws, config.name, data, split)
    draw.draw_importance(plots, [feature.name for feature in features], model.importance())
    if label.binary:
        evaluation, line = _evaluate_scores(model, train, test, incumbent, plots)
        return Experiment(model, features, evaluation, judge(evaluation), line)
    chosen = greedy_actions(model.actions, model.predict(test.x))
    evaluation = evaluate_policy(test, chosen, best_action(train), incumbent)
    draw.draw_policy(plots, evaluation)
    return Experiment(model, features, evaluation, judge(evaluation))


def greedy_actions(actions: Sequence[str], values: Floats) -> npt.NDArray[np.str_]:
    """Return the action of the greatest expected reward of each row, the first of equal ones; shape (rows,)."""
    return np.asarray(np.array(actions)[values.argmax(axis=1)], dtype=np.str_)


def _evaluate_scores(
    model: Learner, train: Slice, test: Slice, incumbent: Floats | None, plots: Path
) -> tuple[Evaluation, Calibration]:
    scores = model.predict(test.x)
    majority = np.full(len(test), train.y.mean())
    baselines = {"majority": majority, "logistic on 5 features": logistic_baseline(train, test)}
    evaluation = evaluate_scores(test, scores, baselines, incumbent)
    draw.draw_scores(plots, test, {"model": scores, **baselines}, evaluation)
    return evaluation, calibration_line(scores, test.y)


def _incumbent(ws: Workspace, name: str, data: Dataset, split: Split) -> npt.NDArray[Any] | None:
    """Return the scores or actions of the champion on the test slice.

    None if there is no champion, or if it reads features that are no longer built.
    """
    scorer = champion_scorer(ws, name)
    if scorer is None or not {feature.ref for feature in scorer.manifest.features} <= set(data.types):
        return None
    predicted = scorer.predict(encode_frame(split.test, scorer.manifest.features))
    return greedy_actions(scorer.manifest.actions, predicted) if scorer.manifest.actions else predicted

"""Plots of an evaluation: ROC, precision and recall, calibration, importance; a policy's value by estimator."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from infra.models.arrays import Floats
from training.evaluation.evaluate import Evaluation
from training.evaluation.metrics import BINS
from training.recipes.learner import Slice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PALE = "#1f4e79", "#9aa5b1"
STRONGEST = 20
"""Features that are drawn of a model's importance."""
STYLES = (("-", INK), ("--", "#b5651d"), ("-.", "#5b8c5a"))


def draw_scores(folder: Path, test: Slice, scores: Mapping[str, Floats], evaluation: Evaluation) -> None:
    """Draw ``roc.png``, ``pr.png`` and ``calibration.png``; ``scores`` holds the model first, then baselines."""
    _roc(folder / "roc.png", test, scores)
    _precision_recall(folder / "pr.png", test, scores)
    _calibration(folder / "calibration.png", test, next(iter(scores.values())), f"ECE {evaluation.values['ece']}")


def draw_policy(folder: Path, evaluation: Evaluation) -> None:
    """Draw ``policy_value.png``: each estimate with its interval."""
    names = [name for name in evaluation.values if name != "effective_sample_size"]
    values = [evaluation.values[name] for name in names]
    figure, axes = _figure("Value of the policy on later decisions", "mean reward", "")
    errors = [[v.value - v.low for v in values], [v.high - v.value for v in values]]
    axes.errorbar([v.value for v in values], range(len(values)), xerr=errors, fmt="o", color=INK, capsize=4)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.5, len(names) - 0.5)
    _save(figure, folder / "policy_value.png")


def draw_importance(folder: Path, names: Sequence[str], gains: Floats) -> None:
    """Draw ``importance.png``: the share of the total gain of the strongest features."""
    order = np.argsort(gains)[-STRONGEST:]
    figure, axes = _figure("Importance", "share of the total gain", "")
    axes.barh([names[i] for i in order], gains[order] / max(gains.sum(), 1e-12), color=INK)
    axes.tick_params(axis="y", labelsize=7)
    _save(figure, folder / "importance.png")


def _roc(path: Path, test: Slice, scores: Mapping[str, Floats]) -> None:
    figure, axes = _figure("ROC on later rows", "false positive rate", "true positive rate")
    for i, (name, p) in enumerate(scores.items()):
        positives, negatives = _counts(test.y, p)
        axes.plot(
            np.append(0, negatives / max(negatives[-1], 1)),
            np.append(0, positives / max(positives[-1], 1)),
            label=name,
            ls=STYLES[i][0],
            color=STYLES[i][1],
        )
    axes.plot([0, 1], [0, 1], ":", color=PALE)
    axes.legend()
    _save(figure, path)


def _precision_recall(path: Path, test: Slice, scores: Mapping[str, Floats]) -> None:
    figure, axes = _figure("Precision and recall on later rows", "recall", "precision")
    for i, (name, p) in enumerate(scores.items()):
        positives, negatives = _counts(test.y, p)
        axes.step(
            positives / max(positives[-1], 1),
            positives / (positives + negatives),
            where="post",
            label=name,
            ls=STYLES[i][0],
            color=STYLES[i][1],
        )
    axes.axhline(float(test.y.mean()), ls=":", color=PALE, label="share of positives")
    axes.set_ylim(0, 1.02)
    axes.legend()
    _save(figure, path)


def _counts(y: Floats, p: Floats) -> tuple[Floats, Floats]:
    """Return positives and negatives at or above each threshold, from the highest down."""
    _, rank = np.unique(-p, return_inverse=True)
    return np.cumsum(np.bincount(rank, weights=y)), np.cumsum(np.bincount(rank, weights=1 - y))


def _calibration(path: Path, test: Slice, p: Floats, caption: str) -> None:
    """Draw observed over predicted in groups of equally many rows, each point then as sure as the others."""
    order = np.array_split(np.argsort(p, kind="stable"), BINS)
    groups = [rows for rows in order if len(rows)]
    figure, axes = _figure(f"Calibration on later rows ({caption})", "predicted", "observed")
    axes.plot([0, 1], [0, 1], ":", color=PALE)
    axes.plot([p[rows].mean() for rows in groups], [test.y[rows].mean() for rows in groups], "o-", color=INK)
    _save(figure, path)


def _figure(title: str, x: str, y: str) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _save(figure: "Figure", path: Path) -> None:
    figure.savefig(path, dpi=100, metadata={"Software": None})

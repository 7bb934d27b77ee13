"""Evidently runs the tests and draws the report; its only address."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd


def run_tests(
    reference: pd.DataFrame, current: pd.DataFrame, numbers: Sequence[str], alpha: float, folder: Path
) -> dict[str, float]:
    """Run Evidently's tests, each at the threshold of Bonferroni, save its report, and return the p-values."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    folder.mkdir(parents=True, exist_ok=True)
    words = [c for c in reference if c not in numbers]
    definition = DataDefinition(numerical_columns=list(numbers), categorical_columns=words)
    metrics = [
        ValueDrift(column=c, method="ks" if c in numbers else "chisquare", threshold=alpha / reference.shape[1])
        for c in reference
    ]
    frames = [frame.astype(dict.fromkeys(words, "object")) for frame in (current, reference)]
    # A category that only one side has makes scipy divide by zero on its way to p = 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        result = Report(metrics).run(*(Dataset.from_pandas(frame, definition) for frame in frames))
    result.save_html(str(folder / "report.html"))
    result.save_json(str(folder / "report.json"))
    return {m["config"]["column"]: float(np.nan_to_num(m["value"], nan=1.0)) for m in result.dict()["metrics"]}

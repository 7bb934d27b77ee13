"""The retrain decision on views in a lake: a planted shift gives a yes, none a no, nothing to compare a reason."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from infra.clock import FixedClock, Nights, cutoff
from infra.company.company import Company, Model
from infra.lake.commit import Commit
from infra.models.manifest import Feature, Manifest
from infra.settings import Settings
from infra.state_files import read_json, write_json
from infra.workspace import Workspace
from training.retrain import decide

VIEW = "customer_orders_1a2b3c4d"
COLUMNS = ("customer__orders__7d", "customer__spend__7d")
TRAINED, NIGHT = date(2026, 6, 28), date(2026, 7, 12)
MakeWorkspace = Callable[[float], Workspace]


def publish_model(ws: Workspace) -> None:
    """Publish a version that is no champion: its features are watched, it has no scores."""
    folder = ws.folder("models") / "churn"
    (folder / "1").mkdir(parents=True)
    features = tuple(Feature(ref=f"{VIEW}:{name}", dtype="float64") for name in COLUMNS)
    manifest = Manifest(
        name="churn", version="1", recipe="churn", entity="customer", kind="xgboost", features=features, files={},
        metric="auc", value=0.7, interval=(0.6, 0.8), baseline=0.5, rows=100, night=str(TRAINED),
        trained_at="2026-06-29T00:00:00+00:00", run_id="none", dataset_digest="0" * 64,
    )  # fmt: skip
    (folder / "1" / "manifest.json").write_text(manifest.model_dump_json())
    write_json(folder / "last.json", {"version": "1", "night": str(TRAINED), "inputs": ""})
    label = {"customer_id": ["C1"], "event_time": [cutoff(TRAINED)], "label": [0.0], "night": [TRAINED]}
    ws.lake.replace("training_sets/churn", pa.table(label), Commit(Nights(TRAINED, TRAINED)))


@pytest.fixture
def company(tmp_path: Path) -> MakeWorkspace:
    """Make a company whose customers differ by so many standard deviations since the model was trained."""

    customers = 2000

    def make(shift: float) -> Workspace:
        made = Company(
            name="made_up",
            title="Made up",
            sources=(),
            models=(Model(name="churn", recipe="churn", label="sla_missed"),),
        )
        ws = Workspace(Settings(home=tmp_path), made, FixedClock(cutoff(NIGHT) + timedelta(hours=6)))
        rng = np.random.default_rng(8)
        nights = Nights(TRAINED - timedelta(days=34), NIGHT)
        steady = rng.normal(size=customers)
        rows = [
            pd.DataFrame(
                {
                    "customer_id": [f"C{i:05d}" for i in range(customers)],
                    COLUMNS[0]: steady + rng.normal(size=customers) + shift * np.sqrt(2) * (night > TRAINED),
                    COLUMNS[1]: rng.gamma(2.0, 1.0, customers),
                    "night": night,
                }
            )
            for night in nights
        ]
        table = pa.Table.from_pandas(pd.concat(rows), preserve_index=False)
        ws.lake.replace(f"features/{VIEW}", table, Commit(nights, inputs=str(shift)))
        publish_model(ws)
        return ws

    return make


def test_no_shift_is_a_no_and_half_a_standard_deviation_a_yes(company: MakeWorkspace) -> None:
    ws = company(0.0)
    assert decide(ws, NIGHT)["verdict"] == "no"
    found = decide(shifted(ws), NIGHT)
    assert found["verdict"] == "yes"
    assert found["models"] == ["churn"]
    assert COLUMNS[0] in found["reason"]
    assert COLUMNS[1] not in found["reason"]
    assert (Path(found["report"]) / "customer" / "report.html").exists()
    assert read_json(ws.folder("reports") / "drift.json") == found


def shifted(ws: Workspace) -> Workspace:
    """Move the newest two weeks of a company by half a standard deviation."""
    nights = Nights(TRAINED + timedelta(days=1), NIGHT)
    rows = ws.lake.read(f"features/{VIEW}", nights).to_pandas()
    rows[COLUMNS[0]] += 0.5 * rows[COLUMNS[0]].std()
    ws.lake.replace(
        f"features/{VIEW}", pa.Table.from_pandas(rows, preserve_index=False), Commit(nights, inputs="shifted")
    )
    return ws


def test_the_same_night_again_is_not_compared_again(company: MakeWorkspace) -> None:
    ws = company(0.0)
    first = decide(ws, NIGHT)
    report = Path(first["report"]) / "customer" / "report.html"
    written = report.stat().st_mtime_ns
    assert decide(ws, NIGHT) == first
    assert report.stat().st_mtime_ns == written


def test_without_a_model_there_is_nothing_to_compare(tmp_path: Path) -> None:
    ws = Workspace(Settings(home=tmp_path), Company(name="bare", title="Bare", sources=()))
    found = decide(ws, NIGHT)
    assert found["verdict"] == "too few rows"
    assert "No model has been trained" in found["reason"]
    assert read_json(ws.folder("reports") / "drift.json") == found

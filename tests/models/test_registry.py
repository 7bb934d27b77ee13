"""The registry with real MLflow on SQLite: what was trained can be read back, and nothing that was changed is."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from infra import state_files
from infra.company.company import Company, Model
from infra.models import bundle, registry
from infra.models.encoding import encode
from infra.settings import ROOT, Settings
from infra.workspace import Workspace
from rapport_feast.errors import Terminal
from tests.models.data import TYPES, made_up, made_up_log
from training.data.dataset import Dataset
from training.data.labels import LABELS
from training.data.split import time_split
from training.experiment import load
from training.run import train_on

NIGHT = date(2026, 9, 30)
MODELS = (
    Model(name="churn", recipe="churn", label="no_order"),
    Model(name="escalation", recipe="escalation", label="no_order"),
    Model(name="next_best_action", recipe="next_best_action", label="reward"),
)
TAGS = {"trigger": "drift", "trigger_run": "drift__2026-09-30", "night": str(NIGHT)}


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    home = tmp_path_factory.mktemp("registry")
    return Workspace(Settings(home=home), Company(name="made_up", title="Made up", sources=(), models=MODELS))


def trained(ws: Workspace, model: Model, *, shuffled: bool = False) -> dict[str, object]:
    rows = (made_up_log if model.label == "reward" else made_up)(shuffled=shuffled)
    data = Dataset(time_split(rows).joined(), TYPES, "customer_id", "0" * 64)
    return train_on(ws, model, LABELS[model.label], data, NIGHT, TAGS)


@pytest.fixture(scope="module", params=MODELS, ids=lambda model: model.name)
def round_trip(ws: Workspace, request: pytest.FixtureRequest) -> tuple[Model, dict[str, object]]:
    return request.param, trained(ws, request.param)


def test_what_is_trained_is_registered_and_published(
    ws: Workspace, round_trip: tuple[Model, dict[str, object]]
) -> None:
    model, result = round_trip
    assert result["alias"] == "champion", result["reason"]
    found = bundle.champion(ws, model.name)
    assert found is not None
    assert (found.version, found.run_id, found.night) == (result["version"], result["run_id"], str(NIGHT))
    api, name = registry.client(ws), registry.registered_name(ws, model.name)
    assert str(api.get_model_version_by_alias(name, "champion").version) == found.version
    run = api.get_run(found.run_id)
    assert run.data.tags["trigger"] == "drift"
    assert run.data.tags["trigger_run"] == "drift__2026-09-30"
    assert run.data.params["dataset_digest"] == found.dataset_digest
    assert run.data.metrics[found.metric] == pytest.approx(found.value)
    assert run.data.metrics[f"{found.metric}_lo"] == pytest.approx(found.interval[0])
    wanted = {"policy_value", "importance"} if found.actions else {"roc", "pr", "calibration", "importance"}
    assert {Path(one.path).stem for one in api.list_artifacts(found.run_id, "plots")} == wanted


def test_the_published_files_say_the_same(ws: Workspace, round_trip: tuple[Model, dict[str, object]]) -> None:
    found = bundle.champion(ws, round_trip[0].name)
    assert found is not None
    rows = made_up(50, seed=9)
    first, second = (load(ws, found).predict(encode(rows, found.features)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == ((50, 2) if found.actions else (50,))


def test_the_status_is_that_of_the_issue(ws: Workspace, round_trip: tuple[Model, dict[str, object]]) -> None:
    status = state_files.read_json(ws.folder("models") / round_trip[0].name / "status.json")
    assert status is not None
    assert list(status) == ["champion", "challenger", "reason"]
    assert set(status["champion"]) == {"version", "metric", "value", "interval", "baseline", "rows"}
    assert status["challenger"] is None
    assert status["reason"].startswith("Champion: ")


def test_shuffled_labels_leave_the_champion_and_a_reason(ws: Workspace) -> None:
    before = trained(ws, MODELS[1])
    result = trained(ws, MODELS[1], shuffled=True)
    status = state_files.read_json(ws.folder("models") / "escalation" / "status.json")
    assert status is not None
    assert result["alias"] == "challenger"
    assert status["champion"]["version"] == before["version"]
    assert status["challenger"]["version"] == result["version"]
    assert "does not beat the baseline" in status["reason"]
    name = registry.registered_name(ws, "escalation")
    assert str(registry.client(ws).get_model_version_by_alias(name, "challenger").version) == result["version"]


def test_a_changed_file_is_refused(ws: Workspace) -> None:
    result = trained(ws, MODELS[0])
    folder = bundle.version_folder(ws, "churn", str(result["version"]))
    model, manifest = folder / "model.ubj", folder / "manifest.json"
    for path in (model, manifest):
        kept = path.read_bytes()
        path.write_bytes(kept + b" ")
        with pytest.raises(Terminal, match="is not the file that was published"):
            bundle.champion(ws, "churn")
        path.write_bytes(kept)
    found = bundle.champion(ws, "churn")
    assert found is not None
    with pytest.raises(Terminal, match="published already"):
        bundle.publish_version(ws, found, folder)


def test_manifests_are_what_serving_reads(ws: Workspace, round_trip: tuple[Model, dict[str, object]]) -> None:
    from serving.score.model import champion_of, load_model

    name = round_trip[0].name
    folder = ws.folder("models") / name
    chosen = champion_of(folder)
    found = bundle.champion(ws, name)
    assert chosen is not None
    assert found is not None
    served = load_model(folder, chosen)
    rows = made_up(20, seed=9)
    plain = [
        [None if v is None or v != v else v for v in row]
        for row in rows[[f.name for f in found.features]].astype(object).to_numpy().tolist()
    ]
    ours = load(ws, found).predict(encode(rows, found.features))
    if found.actions:
        theirs = np.array([[said[a] for a in found.actions] for said in served.action_values(plain)])
    else:
        theirs = np.array(served.scores(plain))
    np.testing.assert_allclose(theirs, ours, atol=1e-9)


def test_reading_a_champion_imports_no_heavy_library(ws: Workspace) -> None:
    heavy = ("mlflow", "xgboost", "pandas", "feast")
    code = f"import sys, infra.models.bundle; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"import json; {code}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []

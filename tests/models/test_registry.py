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
from infra.models.errors import DigestDiffers, NotRegistered, RegistryRefused, RegistryUnavailable, VersionExists
from infra.models.scorer import champion_scorer
from infra.settings import ROOT, Settings
from infra.workspace import Workspace
from tests.models.data import TYPES, made_up, made_up_log
from training.data.dataset import Dataset, encode_frame
from training.data.labels import label_named
from training.data.split import time_split
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
    return train_on(ws, model, label_named(ws.company, model.label, {}), data, NIGHT, TAGS)


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


def test_the_published_files_score_frames_and_plain_rows_alike(
    ws: Workspace, round_trip: tuple[Model, dict[str, object]]
) -> None:
    scorer = champion_scorer(ws, round_trip[0].name)
    assert scorer is not None
    rows, actions = made_up(50, seed=9), scorer.manifest.actions
    predicted = scorer.predict(encode_frame(rows, scorer.manifest.features))
    assert predicted.shape == ((50, 2) if actions else (50,))
    columns = rows[[feature.name for feature in scorer.manifest.features]]
    plain = columns.astype(object).where(columns.notna(), None).to_numpy().tolist()
    if actions:
        served = np.array([[values[action] for action in actions] for values in scorer.action_values(plain)])
    else:
        served = np.array(scorer.scores(plain))
    np.testing.assert_array_equal(served, predicted)


def test_the_status_names_champion_challenger_and_reason(
    ws: Workspace, round_trip: tuple[Model, dict[str, object]]
) -> None:
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
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        with pytest.raises(DigestDiffers, match="is not the file that was published"):
            bundle.champion(ws, "churn")
        path.write_bytes(content)
    found = bundle.champion(ws, "churn")
    assert found is not None
    with pytest.raises(VersionExists, match="published already"):
        bundle.publish_version(ws, found, folder)


def test_what_mlflow_does_not_know_is_said_by_its_own_error(ws: Workspace) -> None:
    with pytest.raises(NotRegistered, match="weather"):
        registry.set_alias(ws, "weather", "challenger", "1")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("TEMPORARILY_UNAVAILABLE", RegistryUnavailable),
        ("RESOURCE_DOES_NOT_EXIST", NotRegistered),
        ("INVALID_PARAMETER_VALUE", RegistryRefused),
    ],
)
def test_an_error_of_mlflow_is_known_by_its_code(code: str, error: type[Exception]) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    with pytest.raises(error, match="as it was"), registry.mlflow_errors():
        raise MlflowException("as it was", ErrorCode.Value(code))


def test_reading_a_champion_imports_no_heavy_library() -> None:
    heavy = ("mlflow", "xgboost", "pandas", "feast")
    code = f"import json, sys, infra.models.scorer; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []

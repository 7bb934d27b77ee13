"""The life of the online service: start, champions that change or cannot be trusted, a store that is gone, the end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from infra.company.company import Company
from infra.redis.online_store import online_store
from infra.settings import Settings
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from serving.http.app import create_app
from serving.http.server import serve
from serving.state.artifacts import ArtifactCache

with warnings.catch_warnings():
    warnings.simplefilter("ignore")

from tests.contract.serving_setup import (
    ALL,
    ONE,
    boosters,
    client_of,
    free_port,
    publish_model,
    publish_models,
    publish_views,
    wait_until_ready,
    workspace,
)


def test_a_model_with_a_flipped_byte_is_refused_and_the_old_one_stays(tmp_path: Path):
    ws = workspace(tmp_path)
    publish_models(ws)
    artifacts = ArtifactCache(ws)
    artifacts.refresh_models()
    assert not artifacts.refused
    trees = bytes(boosters(2)[0].save_raw("ubj"))
    home = publish_model(ws, "churn", "2", "xgboost", {"model.ubj": trees})
    (home / "model.ubj").write_bytes(trees[:100] + bytes([trees[100] ^ 1]) + trees[101:])
    artifacts.refresh_models()
    assert artifacts.models["churn"].manifest.version == "1"
    assert "churn/2/model.ubj is not the file that was published" in artifacts.refused["churn"]
    publish_model(ws, "churn", "3", "xgboost", {"model.ubj": trees})
    artifacts.refresh_models()
    assert (artifacts.models["churn"].manifest.version, artifacts.refused) == ("3", {})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "pickle"}, "kind"),
        ({"files": {"../1/model.ubj": "0" * 64}}, "own folder"),
        ({"files": {"absent.ubj": "0" * 64}}, "cannot be read"),
        ({"name": "another"}, "instead"),
        ({"features": [{"ref": ALL[0], "dtype": "int64", "categories": None}]}, "expected 1 inputs"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(tmp_path: Path, change: dict[str, Any], sentence: str):
    ws = workspace(tmp_path)
    publish_model(ws, "churn", "1", "xgboost", {"model.ubj": bytes(boosters()[0].save_raw("ubj"))}, change)
    artifacts = ArtifactCache(ws)
    artifacts.refresh_models()
    assert not artifacts.models
    assert sentence in artifacts.refused["churn"]


def test_a_model_that_is_no_model_is_refused(tmp_path: Path):
    ws = workspace(tmp_path)
    publish_model(ws, "churn", "1", "xgboost", {"model.ubj": b"cos\nsystem\n(S'true'\ntR."})
    publish_model(ws, "escalation", "1", "lightgbm", {"model.txt": b"\xff"})
    artifacts = ArtifactCache(ws)
    artifacts.refresh_models()
    assert "XGBoost model" in artifacts.refused["churn"]
    assert "LightGBM model" in artifacts.refused["escalation"]


def test_what_is_published_later_is_served_without_a_restart(tmp_path: Path):
    ws = workspace(tmp_path)
    with TestClient(create_app(ws)) as client:
        deadline = time.monotonic() + 10
        while "nightly ring" not in str(client.get("/ready").json()["problem"]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        answer = client.post("/get-online-features", json={"features": ALL, "entities": ONE})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        publish_views(ws)
        publish_models(ws)
        wait_until_ready(client)
        assert set(client.get("/ready").json()["models"]) == {"churn", "escalation", "offer"}
        (ws.folder("models") / "churn" / "champion.json").unlink()
        time.sleep(1.5)
        assert client.post("/v1/score/churn", json={"entity": "A1"}).status_code == 404


def test_a_frozen_store_is_a_default_within_the_deadline_and_a_killed_one_comes_back(tmp_path: Path):
    ws = workspace(tmp_path)
    publish_views(ws)
    body = {"features": ALL, "entities": ONE}
    with client_of(ws) as client, online_store(ws) as store:
        raw: Any = store.client()
        server = int(raw.info("server")["process_id"])
        os.kill(server, signal.SIGSTOP)
        begun = time.monotonic()
        answer = client.post("/get-online-features", json=body)
        waited = time.monotonic() - begun
        os.kill(server, signal.SIGCONT)
        assert answer.status_code == 200
        told = answer.json()["rapport"]
        assert told["degraded"]
        assert {one["reason"] for one in told["fallbacks"]} == {"late"}
        assert waited < 0.5
        os.kill(server, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while client.post("/get-online-features", json=body).json()["rapport"]["degraded"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_taken_port_is_one_sentence(tmp_path: Path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Rejected, match=rf"port {port}: .*--port or RAPPORT_SERVE_PORT"):
            serve(workspace(tmp_path), port)


PROGRAM = """
import json, sys, threading, urllib.request
from infra.workspace import open_workspace
from serving.http.server import serve
serve(open_workspace(), int(sys.argv[1]))
print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""
NEVER = {
    "feast",
    "mlflow",
    "airflow",
    "pandas",
    "ibis",
    "duckdb",
    "great_expectations",
    "evidently",
    "pyspark",
    "sklearn",
}


def test_a_process_is_healthy_in_2_s_ready_in_8_s_and_ends_cleanly_without_the_heavy_libraries(tmp_path: Path):
    (tmp_path / "small.toml").write_text('name = "small"\ntitle = "small"\nsources = []\n')
    ws = Workspace(
        Settings(home=tmp_path, company=tmp_path / "small.toml"), Company(name="small", title="small", sources=())
    )
    publish_views(ws)
    publish_models(ws)
    port, begun = free_port(), time.monotonic()
    environment = {**os.environ, **ws.environment()}
    command = [sys.executable, "-c", PROGRAM, str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
            healthy, ready = seconds_until(client, "/health", begun), seconds_until(client, "/ready", begun)
            score = client.post("/v1/score/churn", json={"entity": "nobody"})
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    print(f"healthy after {healthy:.2f} s, ready after {ready:.2f} s")
    assert (process.returncode, err, score.status_code) == (0, "", 200)
    assert not NEVER & set(json.loads(out))
    assert healthy < 2
    assert ready < 8
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/health")


def seconds_until(client: httpx.Client, path: str, begun: float) -> float:
    """Return how long after ``begun`` a path first answered 200."""
    while time.monotonic() - begun < 30:
        try:
            if client.get(path).status_code == 200:
                break
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    return time.monotonic() - begun

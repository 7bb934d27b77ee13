"""Training a model of a small simulated company, from silver to champion: due, skipped, unchanged, scarce."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features.compute.as_known import merged_ids
from infra import state_files
from infra.clock import cutoff
from infra.models import bundle, registry
from infra.workspace import Workspace
from rapport_feast.errors import Rejected, Terminal
from tests.conftest import small_workspace
from training.data.labels import label_named
from training.data.spine import build_spine
from training.run import train

OPTIONS: dict[str, Any] = {"horizon_days": 7}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, date]:
    """Return a company with enough tickets to learn from, built but not published."""
    from features.compute.build import build
    from rapport.world import ensure
    from validation.bronze.ingest import ingest
    from validation.gate.run import gate
    from validation.sources.coverage import last_night

    ws = small_workspace(tmp_path_factory.mktemp("run"), customers=800, days=50)
    ensure(ws)
    night = last_night(ws)
    for step in (ingest, gate, build):
        step(ws, night)
    return ws, night


@pytest.fixture(scope="module")
def first(built: tuple[Workspace, date]) -> dict[str, Any]:
    ws, night = built
    return train(ws, "escalation", night, run="nightly__1")


def test_a_first_version_is_trained(built: tuple[Workspace, date], first: dict[str, Any]) -> None:
    ws, night = built
    assert not first["skipped"]
    assert first["version"] == "1"
    assert 0.5 < first["value"] < 0.95
    found = bundle.published(ws, "escalation", "1")
    assert found.dataset_digest == next(iter(ws.lake.digests("training_sets/escalation").values()))
    assert ws.lake.newest("training_sets/escalation") == night
    tags = registry.client(ws).get_run(first["run_id"]).data.tags
    assert (tags["trigger"], tags["trigger_run"]) == ("nightly", "nightly__1")


@pytest.mark.usefixtures("first")
def test_the_next_night_waits_until_a_version_is_due(built: tuple[Workspace, date]) -> None:
    ws, night = built
    found = train(ws, "escalation", night + timedelta(days=1))
    assert found["skipped"]
    assert "due after 28" in found["reason"]


@pytest.mark.usefixtures("first")
def test_on_demand_unchanged_inputs_train_nothing_and_forced_ones_the_same(built: tuple[Workspace, date]) -> None:
    ws, night = built
    assert "Inputs are those of version 1" in train(ws, "escalation", night, trigger="manual")["reason"]
    always = replace(ws, settings=ws.settings.model_copy(update={"skip_unchanged": False}))
    again = train(always, "escalation", night, trigger="drift")
    assert again["version"] == "2"
    one, two = (bundle.published(ws, "escalation", version) for version in "12")
    assert one.files == two.files
    assert one.dataset_digest == two.dataset_digest


def test_too_few_rows_are_a_reason(built: tuple[Workspace, date]) -> None:
    ws, night = built
    found = train(ws, "churn", night)
    assert found["skipped"]
    assert "too few rows" in found["reason"]
    status = state_files.read_json(ws.folder("models") / "churn" / "status.json")
    assert status == {"champion": None, "challenger": None, "reason": found["reason"]}


def test_no_decisions_are_a_reason(tmp_path_factory: pytest.TempPathFactory) -> None:
    ws = small_workspace(tmp_path_factory.mktemp("bare"))
    found = train(ws, "next_best_action", date(2026, 7, 1))
    missing = "no decisions and no outcomes"
    assert found == {
        "skipped": True,
        "reason": f"Not trained: the company has {missing}, so no action was logged with its propensity.",
    }


def test_an_unknown_model_is_refused(built: tuple[Workspace, date]) -> None:
    with pytest.raises(Rejected, match="model: expected one of churn"):
        train(built[0], "weather", built[1])


@pytest.mark.parametrize("name", ["escalated", "no_order", "reward", "sla_missed", "reassigned_twice"])
def test_labels_are_mature_and_stand_once(built: tuple[Workspace, date], name: str) -> None:
    ws, night = built
    spine = build_spine(ws, label_named(ws.company, name, OPTIONS), night)
    key = "customer_id" if name in {"no_order", "reward"} else "ticket_id"
    assert len(spine) > 100
    assert (spine["label_end"] <= pd.Timestamp(cutoff(night))).all()
    assert (spine["label_end"] > spine["event_time"]).all()
    assert not spine.duplicated("decision_id" if name == "reward" else [key, "event_time"]).any()
    assert spine["label"].nunique() > 1


def test_a_label_does_not_change_by_what_is_known_later(built: tuple[Workspace, date]) -> None:
    ws, night = built
    label = label_named(ws.company, "no_order", OPTIONS)
    early, late = (build_spine(ws, label, night - timedelta(days=days)) for days in (7, 0))
    with ws.lake.connect() as connection:
        gone = {row[0] for row in connection.execute(f"FROM {merged_ids(ws, connection, night)}").fetchall()}
    # Who was merged into another account since is asked about no more.
    early = early[~early["customer_id"].isin(gone)]
    both = early.merge(late, on=["customer_id", "event_time"], suffixes=("", "_later"))
    assert len(both) == len(early[early["event_time"] >= late["event_time"].min()])
    assert (both["label"] == both["label_later"]).mean() > 0.97


@pytest.mark.row("F9")
@pytest.mark.usefixtures("first")
def test_a_damaged_training_set_is_refused_and_made_again_without_a_new_version(built: tuple[Workspace, date]) -> None:
    ws, night = built
    table = "training_sets/escalation"
    whole = ws.lake.digests(table)
    file = Path(ws.lake.files(table)[-1])
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(Terminal, match=f"{table}, night {night}: .*other bytes"):
        ws.lake.read(table)
    found = train(ws, "escalation", night)
    assert found["skipped"]
    assert "Inputs are those of version" in found["reason"]
    assert ws.lake.digests(table) == whole

"""The author's loop on a small ring: list, show, try, plan and back-fill, as the command line does them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import features.catalogue
import features.inspect.cards
import features.inspect.plan
from features.catalogue import standard
from features.compute.build import build
from features.compute.tables import features_table, tiles_table
from features.declare.catalogue import Catalogue
from features.declare.group import Group
from features.declare.measure import Measure
from features.declare.terms import col
from infra.clock import Nights, cutoff
from infra.models.manifest import Feature, Manifest
from infra.state_files import write_json
from infra.workspace import Workspace
from rapport_feast.times import DAY
from tests.conftest import CopyRing
from tests.unit.test_cli import run

FIRST, LAST = date(2026, 5, 25), date(2026, 7, 3)
ORDERS, WAITING = standard().group("customer_orders"), standard().group("ticket_waiting")
EVENTS = standard().group("queue_load")
Ask = Callable[..., Any]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command on a workspace; return what it prints, read as JSON where it is."""

    def call(ws: Workspace, *arguments: str, code: int = 0) -> Any:
        for name, value in {**ws.environment(), "COLUMNS": "240"}.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        assert run("feature", *arguments) == code
        printed = capsys.readouterr()
        return printed.err if code else json.loads(printed.out) if "--json" in arguments else printed.out

    return call


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Callable[[tuple[Group, ...]], None]:
    """Let the catalogue hold other groups."""

    def put(groups: tuple[Group, ...]) -> None:
        monkeypatch.setattr(features.catalogue, "_in_folder", lambda _: Catalogue(groups, standard().requests))

    return put


def edited() -> Group:
    """Return the orders with a longer window, another condition and one measure more."""
    measures = list(ORDERS.measures)
    first = measures[0]
    measures[0] = replace(first, windows=(*first.windows, "60d"), where=col("kind") == "refund")
    return replace(ORDERS, measures=(*measures, Measure("dear", "count", ("30d",), where=col("amount_minor") > 9_900)))


def without(ws: Workspace, *groups: Group) -> Workspace:
    """Remove what was built of some groups."""
    for group in groups:
        for table in (tiles_table(group), features_table(group)):
            shutil.rmtree(ws.lake.path(table))
    return ws


def digests(ws: Workspace, group: Group) -> dict[str, dict[date, str]]:
    return {table: ws.lake.digests(table) for table in (tiles_table(group), features_table(group))}


@pytest.mark.slow
def test_list_and_show_print_build_state_and_cost(small_ring: Workspace, ask: Ask) -> None:
    listed = {row["group"]: row for row in ask(small_ring, "list", "--json")}
    assert set(listed) == {group.name for group in standard().groups} | {"message"}
    assert listed["customer_orders"]["state"] == f"built to {LAST}"
    assert listed["customer_orders"]["features"] == len(ORDERS.outputs)
    assert listed["message"]["state"] == "computed on request"
    card = ask(small_ring, "show", "customer__orders__30d", "--json")
    (feature,) = card["features"]
    assert (feature["type"], feature["empty"], card["purpose"]) == ("int64", 0, ORDERS.purpose)
    assert [source["name"] for source in card["lineage"]["sources"]] == ["shop", "logins", "merges", "sign_ins"]
    (version,) = card["versions"]
    folders = [Path(small_ring.lake.path(table)) for table in (tiles_table(ORDERS), features_table(ORDERS))]
    assert version["bytes"] == sum(file.stat().st_size for folder in folders for file in folder.rglob("*.parquet"))
    assert version["seconds"] == small_ring.lake.commits(features_table(ORDERS))[0].notes["seconds"] > 0  # type: ignore[index]
    shown = ask(small_ring, "show", "customer_orders")
    assert all(one.name in shown for one in ORDERS.outputs)
    assert "customer_orders" in ask(small_ring, "list")


@pytest.mark.slow
def test_try_shows_values_and_the_facts_counted(small_ring: Workspace, ask: Ask) -> None:
    night = date(2026, 6, 20)
    printed = ask(small_ring, "try", "queue__assigned__7d", "--at", str(night), "--json")
    assert len(printed["entities"]) == 3
    events = newest_events(small_ring, cutoff(night))
    for entity in printed["entities"]:
        assert entity["values"] == entity["built"]
        counted = {
            row["event_id"]
            for row in events
            if row["assignment_group"] == entity["entity"]
            and row["kind"] == "assigned"
            and night - timedelta(days=7) <= (row["event_time"] - timedelta(microseconds=1)).date() <= night
        }
        assert {fact["event_id"] for fact in entity["facts"]} == counted
        assert entity["values"] == {"queue__assigned__7d": len(counted)}
        assert all(fact["windows"] == ["7d"] for fact in entity["facts"])
        assert all(fact["source"] == "helpdesk" and fact["file"].startswith("tickets-") for fact in entity["facts"])


def newest_events(ws: Workspace, known_by: datetime) -> list[dict[str, Any]]:
    """Return the ticket events as known then, in plain Python."""
    known: dict[str, dict[str, Any]] = {}
    rows = ws.lake.read("silver/ticket_events").to_pylist()
    for row in sorted(rows, key=lambda r: (r["ingested_at"], r["file"], r["position"])):
        before = known.get(row["event_id"])
        if row["ingested_at"] <= known_by and (before is None or (row["revision"] or 0) >= (before["revision"] or 0)):
            known[row["event_id"]] = row
    return [row for row in known.values() if not row["retracted"]]


@pytest.mark.slow
def test_try_equals_the_nightly_table_and_subtracts_the_live_lag(small_ring: Workspace, ask: Ask) -> None:
    printed = ask(small_ring, "try", "customer_orders", "--at", f"{LAST}T09:30:00Z", "--night", "--json")
    rows = small_ring.lake.read(features_table(ORDERS), Nights(LAST, LAST)).to_pylist()
    table = {row["customer_id"]: row for row in rows}
    for entity in printed["entities"]:
        assert entity["values"] == {one.name: table[entity["entity"]][one.name] for one in ORDERS.outputs}
        assert len(entity["facts"]) > 5
    live = ask(small_ring, "try", "customer_activity", "--at", f"{LAST}T09:30", "--json")
    assert (live["at"], live["known_by"]) == (f"{LAST}T09:30:00.000000Z", f"{LAST}T09:29:59.000000Z")
    assert live["entities"][0]["built"] is None
    text = ask(small_ring, "try", "customer_orders", "--at", str(LAST))
    assert "built that night" in text
    # What stands in square brackets is text here, no colour.
    assert "matches(text, '[?]')" in ask(small_ring, "show", "message__asks")
    assert "known_at" in text


@pytest.mark.slow
def test_an_edited_group_can_be_tried_and_planned_before_it_is_built(
    small_ring: Workspace, ask: Ask, declare: Callable[[tuple[Group, ...]], None]
) -> None:
    fresh = edited()
    gone = tuple(group for group in standard().groups if group.name not in {"customer_orders", "queue_load"})
    declare((*gone, fresh, replace(ORDERS, name="customer_purse", measures=ORDERS.measures[:1], derived=())))
    printed = ask(small_ring, "try", "customer__dear__30d", "--at", str(LAST), "--json")
    assert printed["view"] == fresh.view != ORDERS.view
    for entity in printed["entities"]:
        assert entity["values"]["customer__dear__30d"] == len(entity["facts"]) > 0
        assert all(fact["amount_minor"] > 9_900 for fact in entity["facts"])
    changes = {change["group"]: change for change in ask(small_ring, "plan", "--json")}
    what = {name: change["action"] for name, change in changes.items() if change["action"] != "keep"}
    assert what == {"customer_orders": "change", "queue_load": "drop", "customer_purse": "add"}
    change = changes["customer_orders"]
    name, windows = ORDERS.measures[0].name, ORDERS.measures[0].windows
    before, after = ", ".join(windows), ", ".join((*windows, "60d"))
    assert f"measure {name}, windows: {before} -> {after}" in change["reasons"]
    assert f"measure {name}, where: (kind == 'order') -> (kind == 'refund')" in change["reasons"]
    assert "measure dear: new" in change["reasons"]
    assert change["backfill"] == [str(FIRST), str(LAST)]
    assert change["estimate"]["nights"] == 40
    assert change["estimate"]["seconds"] > 0
    assert change["estimate"]["based_on"] == [ORDERS.view]
    assert [old["view"] for old in change["older_versions"]] == [ORDERS.view]
    assert changes["ticket_waiting"]["published"] == str(LAST)
    assert changes["ticket_waiting"]["registered"]
    shown = ask(small_ring, "plan")
    assert f"beside it stays {ORDERS.view}" in shown
    assert f"Pinned by no model any more: {ORDERS.view}, {EVENTS.view}." in shown


@pytest.mark.slow
def test_a_plan_names_the_models_that_pin_a_version(
    copy_ring: CopyRing, ask: Ask, declare: Callable[[tuple[Group, ...]], None]
) -> None:
    ws = copy_ring()
    for version, ref in (("1", ORDERS.refs()[0]), ("2", ORDERS.refs()[1])):
        publish_version(ws, version, ref)
    declare((*(group for group in standard().groups if group != ORDERS), edited()))
    change = next(one for one in ask(ws, "plan", "--json") if one["group"] == "customer_orders")
    assert [old["pinned_by"] for old in change["older_versions"]] == [["churn v2 (newest)"]]
    card = ask(ws, "show", "customer_orders", "--json")
    assert card["used_by"] == []
    assert [(one["view"], one["pinned_by"]) for one in card["versions"]] == [(ORDERS.view, ["churn v2 (newest)"])]


def publish_version(ws: Workspace, version: str, ref: str) -> None:
    """Publish a version that is no champion."""
    folder = ws.folder("models") / "churn" / version
    folder.mkdir(parents=True)
    manifest = Manifest(
        name="churn", version=version, recipe="churn", entity="customer", kind="xgboost",
        features=(Feature(ref=ref, dtype="int64"),), files={}, metric="auc", value=0.7, interval=(0.6, 0.8),
        baseline=0.5, rows=100, night=str(LAST), trained_at=f"{LAST + DAY}T00:00:00+00:00", run_id="none",
        dataset_digest="0" * 64,
    )  # fmt: skip
    (folder / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    write_json(folder.parent / "last.json", {"version": version, "night": str(LAST), "inputs": ""})


@pytest.mark.slow
def test_unknown_names_are_refused_with_suggestions(small_ring: Workspace, ask: Ask) -> None:
    for arguments, words in (
        (("show", "customer_order"), "Did you mean customer_orders"),
        (("try", "customer_orders", "--at", "yesterday"), "--at: expected a night as YYYY-MM-DD or a moment"),
        (("try", "customer_orders", "--at", str(LAST), "--entity", "C00012"), "Did you mean C000"),
        (("try", "message", "--at", str(LAST)), "found the request message"),
        (("backfill", "customer_orders", "--from", "2026-05-01"), f"--from: expected a night from {FIRST}"),
        (("backfill", "customer_orders", "--to", "2026-08-01"), f"--to: expected a night up to {LAST}"),
    ):
        found = ask(small_ring, *arguments, code=2)
        assert words in found
        assert found.count("\n") == 1


@pytest.mark.slow
def test_a_chunked_backfill_equals_one_pass_and_the_next_night_continues(
    copy_ring: CopyRing, small_ring: Workspace, ask: Ask
) -> None:
    ws = without(copy_ring(), ORDERS, WAITING)
    assert "1 nights left" in ask(ws, "backfill", "customer_orders", "--chunk", "1", "--to", str(FIRST + DAY))
    ask(ws, "backfill", "customer_orders", "--chunk", "19", "--to", str(LAST - DAY))
    assert len(ws.lake.commits(features_table(ORDERS))) == 2 + 2
    ask(ws, "backfill", WAITING.view, "--chunk", "17")
    assert digests(ws, WAITING) == digests(small_ring, WAITING)
    built = build(ws, LAST)
    assert {view: printed for view, printed in built.items() if not printed.get("skipped")}.keys() == {ORDERS.view}
    assert built[ORDERS.view]["nights"] == str(LAST)
    assert digests(ws, ORDERS) == digests(small_ring, ORDERS)
    assert "no night is missing" in ask(ws, "backfill", "customer_orders")
    ask(ws, "backfill", "customer_orders", "--from", str(LAST - 9 * DAY))
    assert digests(ws, ORDERS) == digests(small_ring, ORDERS)


@pytest.mark.slow
def test_a_killed_backfill_continues_to_the_same_digests(copy_ring: CopyRing, small_ring: Workspace, ask: Ask) -> None:
    ws = without(copy_ring(), WAITING)
    command = [sys.executable, "-m", "rapport", "feature", "backfill", "ticket_waiting", "--chunk", "2"]
    process = subprocess.Popen(command, env={**os.environ, **ws.environment()}, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while len(ws.lake.commits(features_table(WAITING))) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = ws.lake.newest(features_table(WAITING))
    assert done is not None
    assert done < LAST
    shown = ask(ws, "backfill", "ticket_waiting", "--chunk", "30")
    assert f"{done + DAY}.." in shown
    assert digests(ws, WAITING) == digests(small_ring, WAITING)

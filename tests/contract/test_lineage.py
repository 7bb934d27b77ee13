"""Lineage, both ways (the first half of G14): from a bad file to the models, and from a value to exactly that file."""

import csv
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from features.catalogue import standard
from features.compute.build import build
from infra.clock import FixedClock, Nights, cutoff
from infra.settings import Settings
from infra.workspace import Workspace, open_workspace
from rapport.lineage.trace import trace
from rapport_feast.errors import Rejected
from rapport_feast.times import DAY
from tests.unit.test_cli import run
from validation.bronze.ingest import ingest
from validation.gate.run import gate

FIRST, LAST = date(2026, 6, 1), date(2026, 7, 10)
BAD, EARLY = date(2026, 6, 24), date(2026, 6, 20)
PEOPLE = [f"C{number:03d}" for number in range(120)]
STRANGER, REGULAR = "C900", "C005"
COMPANY = """
name = "small"
title = "Small"

[identity]
crm = ""

[[sources]]
name = "shop"
adapter = "csv"
fact = "transactions"
path = "shop/orders-{night}.csv"
id_space = "crm"
available = "at"

[sources.columns]
event_id = "line"
source_id = "customer"
event_time = "at"
order_id = "line"
amount_minor = "cents"
kind = "type"
currency = "currency"

[[sources]]
name = "web"
adapter = "csv"
fact = "behaviours"
path = "web/clicks-{night}.csv"
id_space = "crm"
available = "at"

[sources.columns]
event_id = "click"
source_id = "customer"
event_time = "at"
kind = "kind"
session_id = "click"

[[models]]
name = "quiet"
recipe = "churn"
label = "no_order"

[models.options]
horizon_days = 7
active_days = 30
every = 1
samples = 16
"""


@dataclass(frozen=True)
class Ring:
    """A company with one bad file, and the two nights that made training sets: before it and after."""

    ws: Workspace
    orders: str
    clicks: str


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Ring:
    """Run two feeds up to a night before the bad file came, then to one after it; train on both."""
    from training.data.dataset import build_dataset
    from training.data.labels import label_named
    from training.data.spine import build_spine
    from training.data.split import time_split
    from training.run import train

    folder = tmp_path_factory.mktemp("lineage")
    write_feeds(folder)
    (folder / "small.toml").write_text(COMPANY, encoding="utf-8")
    clock = FixedClock(cutoff(LAST) + DAY / 8)
    ws = open_workspace(Settings(company=folder / "small.toml", home=folder / "home"), clock)
    for night in (EARLY, LAST):
        for step in (ingest, gate, build):
            step(ws, night, run=f"{step.__name__} of {night}")
        if night == EARLY:
            label = label_named(ws.company, "no_order", ws.company.models[0].options)
            rows = time_split(build_spine(ws, label, night)).joined()
            build_dataset(ws, "quiet", label, rows, night, "early")
    assert not train(ws, "quiet", LAST, trigger="manual", run="asked for")["skipped"]
    return Ring(ws, standard().group("customer_orders").view, standard().group("customer_activity").view)


def write_feeds(folder: Path) -> None:
    """Write a file a night: who orders follows a rhythm, so that there is something to learn."""
    for name in ("shop", "web"):
        (folder / name).mkdir()
    for day, night in enumerate(Nights(FIRST, LAST)):
        orders = [
            (f"L{night}-{who}", who, f"{night}T{9 + number % 9:02d}:00:00Z", 1000 + number, "order", "EUR")
            for number, who in enumerate(PEOPLE)
            if (day + number) % (3 + number % 17) == 0
        ]
        if night == BAD:
            orders += [
                ("X1", STRANGER, f"{night}T12:00:00Z", 99_999_999, "order", "EUR"),
                ("X2", REGULAR, f"{night}T12:00:00Z", 99_999_999, "order", "EUR"),
                ("X3", REGULAR, f"{night}T13:00:00Z", -5, "order", "EUR"),
            ]
        write(folder / "shop" / f"orders-{night}.csv", "line,customer,at,cents,type,currency", orders)
        clicks = [(f"K{night}-{who}", who, f"{night}T08:00:00Z", "page_view") for who in PEOPLE[day % 7 :: 7]]
        write(folder / "web" / f"clicks-{night}.csv", "click,customer,at,kind", clicks)


def write(path: Path, head: str, rows: list[tuple[Any, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head.split(","), *rows])


def named(nodes: Any, kind: str) -> list[str]:
    return [node.name for node in nodes if node.kind == kind]


@pytest.mark.slow
def test_g14_first_half_a_bad_file_names_the_views_training_sets_and_models_it_went_into(ring: Ring) -> None:
    found = trace(ring.ws, f"shop/orders-{BAD}.csv")
    (file,) = [node for node in found.upstream if node.kind == "file"]
    assert file.details["account"]["reasons"] == {"negative_amount": 1}
    assert file.run == f"gate of {LAST}"
    assert named(found.downstream, "view") == [ring.orders]
    (view,) = [node for node in found.downstream if node.kind == "view"]
    ordered = {
        row["source_id"]
        for row in ring.ws.lake.read("silver/transactions").to_pylist()
        if row["file"] == file.name.split("/")[1]
    }
    assert set(view.details["entities"]) == ordered > {STRANGER, REGULAR}
    rows = ring.ws.lake.read(f"features/{ring.orders}", Nights(BAD, LAST)).to_pylist()
    assert view.rows == sum(row["customer_id"] in ordered for row in rows)
    (kept,) = [node for node in found.downstream if node.kind == "training set"]
    assert (kept.name, kept.nights, kept.run) == ("training_sets/quiet", Nights(LAST, LAST), "asked for")
    taken = ring.ws.lake.read(kept.name, kept.nights).to_pylist()
    # A night is served six hours after its cutoff, where no record says better.
    served = datetime(BAD.year, BAD.month, BAD.day, tzinfo=UTC) + timedelta(days=1, hours=6) - timedelta(microseconds=1)
    assert kept.rows == sum(row["customer_id"] in ordered and row["event_time"] >= served for row in taken) > 0
    assert f"{kept.rows} rows of {ring.orders}" in kept.summary
    assert "its labels read transactions" in kept.summary
    (model,) = [node for node in found.downstream if node.kind == "model"]
    assert model.name == "quiet/1"
    assert model.details["mlflow_run"] == model.run != ""
    assert model.details["dataset_digest"] == kept.details["digest"]


@pytest.mark.slow
def test_g14_first_half_a_value_names_exactly_the_file_behind_it(ring: Ring) -> None:
    found = trace(ring.ws, "customer__largest_order__90d", BAD, STRANGER)
    assert named(found.upstream, "file") == [f"shop/orders-{BAD}.csv"]
    (fact,) = [node for node in found.upstream if node.kind == "fact"]
    assert fact.details["values"] == {"customer__largest_order__90d": 99_999_999}
    assert [one["event_id"] for one in fact.details["facts"]] == ["shop:X1"]
    (view,) = [node for node in found.upstream if node.kind == "view"]
    assert view.run == f"build of {LAST}"
    assert view.details["suite"]["rules"] > 0
    assert set(view.details["silver"]) == {"transactions"}


@pytest.mark.slow
def test_g14_first_half_a_row_of_a_training_set_names_the_nights_and_files_behind_it(ring: Ring) -> None:
    found = trace(ring.ws, "training_sets/quiet", LAST, STRANGER)
    (row,) = [node for node in found.upstream if node.kind == "row"]
    views = {node.name: node for node in found.upstream if node.kind == "view"}
    night = (row.details["event_time"] - timedelta(hours=6)).date()
    assert views[ring.orders].nights == Nights(night, night)
    assert views[ring.orders].details["values"]["customer__spend__30d"] == 99_999_999
    assert views[ring.clicks].rows == 0
    assert named(found.upstream, "file") == [f"shop/orders-{BAD}.csv"]
    assert named(found.downstream, "model") == ["quiet/1"]
    with pytest.raises(Rejected, match="a row of C901, found none of C901"):
        trace(ring.ws, "training_sets/quiet", LAST, "C901")


@pytest.mark.slow
def test_g14_first_half_every_name_of_the_ring_has_a_lineage(ring: Ring) -> None:
    ws = ring.ws
    source = trace(ws, "shop", BAD)
    assert named(source.upstream, "file") == [f"shop/orders-{BAD}.csv"]
    assert named(source.downstream, "model") == ["quiet/1"]
    fact = trace(ws, "silver/behaviours")
    assert named(fact.upstream, "source") == ["web"]
    assert named(fact.downstream, "view") == [ring.clicks]
    feature = trace(ws, "customer__views__24h", LAST)
    assert named(feature.upstream, "fact") == ["silver/behaviours"]
    assert trace(ws, ring.orders).downstream
    night = trace(ws, str(BAD))
    assert named(night.upstream, "file") == [f"shop/orders-{BAD}.csv", f"web/clicks-{BAD}.csv"]
    assert sorted(set(named(night.downstream, "view"))) == sorted([ring.orders, ring.clicks])
    model = trace(ws, "quiet/1")
    given = {node.name: node.details.get("rows_by_night", {}) for node in model.upstream if node.kind == "view"}
    assert sum(given[ring.orders].values()) == sum(
        row["customer__orders__90d"] is not None
        for row in ws.lake.read("training_sets/quiet", Nights(LAST, LAST)).to_pylist()
    )
    assert set(named(model.upstream, "source")) == {"shop", "web"}
    early = trace(ws, "training_sets/quiet", EARLY)
    assert not early.downstream
    with pytest.raises(Rejected, match="Did you mean customer__orders__30d"):
        trace(ws, "customer__orders__30")


@pytest.mark.slow
def test_the_command_prints_both_ways(ring: Ring, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name, value in ring.ws.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "200")
    assert run("lineage", f"orders-{BAD}.csv", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert {node["kind"] for node in printed["downstream"]} == {"fact", "view", "training set", "model"}
    assert printed["query"] == {"kind": "file", "name": f"orders-{BAD}.csv", "night": None, "entity": None, "at": None}
    assert run("lineage", "quiet") == 0
    shown = capsys.readouterr().out
    assert "came from" in shown
    assert "training_sets/quiet" in shown
    assert run("lineage", "silver/orders") == 2
    assert "fact: expected one of behaviours, transactions" in capsys.readouterr().err

"""The README's worked examples, run as they stand there: add a feature, a source, a model."""

import csv
import os
import re
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from infra.clock import FixedClock, cutoff
from infra.settings import ROOT, Settings
from infra.workspace import Workspace, open_workspace
from rapport.new.write import TEMPLATE as TEMPLATE_FOLDER
from rapport.new.write import write_company
from tests.run_nights import run as run_nights

EXAMPLE = re.compile(r"<!-- worked example: (\w+) -->\n```\w+\n(.*?)```", re.DOTALL)
EXAMPLES = dict(EXAMPLE.findall((ROOT / "README.md").read_text(encoding="utf-8")))
TEMPLATE = re.compile(r"<!-- template: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
TEMPLATES = dict(TEMPLATE.findall((ROOT / "README.md").read_text(encoding="utf-8")))
NIGHT = date(2026, 7, 3)


@pytest.fixture
def ring(small_ring: Workspace, tmp_path: Path) -> tuple[Path, Path]:
    """Copy the small ring; return its home and its company file."""
    home, company = tmp_path / "home", tmp_path / "company.toml"
    shutil.copytree(
        small_ring.root, home / small_ring.company.name, symlinks=True, ignore=shutil.ignore_patterns("valkey")
    )
    shutil.copy(small_ring.settings.company, company)
    return home, company


def last_day(ws: Workspace) -> date:
    newest = ws.lake.newest("silver/transactions")
    assert newest is not None
    return newest


@pytest.mark.parametrize("file", TEMPLATES)
def test_what_a_new_company_holds_stands_here(file: str) -> None:
    assert TEMPLATES[file] == (TEMPLATE_FOLDER / file).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_feature_group_is_one_file(tmp_path: Path) -> None:
    from features.catalogue import catalogue_of
    from features.compute.build import build
    from features.store.publish import publish
    from infra.redis.online_store import online_store
    from serving.lookup.customer import lookup_customer

    company = write_company("acme", tmp_path, NIGHT)
    settings, clock = Settings(company=company, home=tmp_path / "home"), FixedClock(cutoff(NIGHT) + timedelta(hours=3))
    run_nights(open_workspace(settings, clock), [NIGHT])
    (company / "catalogue" / "customer_payments.py").write_text(EXAMPLES["feature"], encoding="utf-8")
    ws = open_workspace(settings, clock)
    environment = {**os.environ, **ws.environment(), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    printed = ""
    for command in EXAMPLES["author"].replace("2026-11-20", str(NIGHT)).splitlines():
        arguments = [sys.executable, "-m", *command.split()]
        ran = subprocess.run(arguments, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        printed += ran.stdout
    for words in ("facts of transactions", "add       customer_payments_", "rows, done", "orders/orders.csv"):
        assert words in printed, (words, printed)
    assert all(found.get("skipped") for found in build(ws, NIGHT).values()), "the back-fill left something to build"
    with online_store(ws):
        publish(ws, NIGHT)
        rows = ws.lake.read(f"features/{catalogue_of(ws.company).group('customer_payments').view}").to_pylist()
        newest = max(rows, key=lambda row: (row["night"], row["customer__small_orders__90d"]))
        online = {row.feature: row.value for row in lookup_customer(ws, newest["customer_id"])}
    for name in ("customer__small_orders__90d", "customer__smallest_order__90d", "customer__small_trend__30d_90d"):
        assert len({row[name] for row in rows}) > 1, name
        assert online[name] == newest[name], (name, online[name], newest[name])


def test_a_source_is_a_table_in_the_company_file(ring: tuple[Path, Path]) -> None:
    from rapport import world
    from validation.bronze.ingest import ingest
    from validation.gate.accounts import counts
    from validation.gate.run import gate

    home, company = ring
    shutil.rmtree(home)
    with company.open("a", encoding="utf-8") as file:
        file.write("\n" + EXAMPLES["source"])
    ws = open_workspace(Settings(home=home, company=company))
    made = world.ensure(ws)
    assert made is not None
    first = made.first_night
    with (company.parent / "returns.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["slip", "customer", "returned_at", "order", "cents", "type"])
        for slip in range(30):
            writer.writerow([f"S{slip}", f"C{slip:06d}", f"{first}T10:00:00Z", f"O{slip}", "1999", "RET"])
        writer.writerow(["S30", "C000002", f"{first}T11:00:00Z", "O30", "-5", "RET"])
        writer.writerow(["S31", "C000003", f"{first + timedelta(days=1)}T10:00:00Z", "O31", "2500", "RET"])
    for step in (ingest, gate):
        step(ws, first)
    silver = [row for row in ws.lake.read("silver/transactions").to_pylist() if row["source"] == "returns_desk"]
    assert len(silver) == 30
    assert {(row["kind"], row["amount_minor"], row["currency"]) for row in silver} == {("refund", 1999, "EUR")}
    refused = [row for row in ws.lake.read("quarantine/transactions").to_pylist() if row["source"] == "returns_desk"]
    assert [(row["position"], row["reason"]) for row in refused] == [(30, "negative_amount")]
    assert counts(ws, first)["transactions"]["quarantined"] >= 1


@pytest.mark.slow
def test_a_model_is_a_table_in_the_company_file(ring: tuple[Path, Path]) -> None:
    from training.run import train

    home, company = ring
    with company.open("a", encoding="utf-8") as file:
        file.write("\n" + EXAMPLES["model"])
    ws = open_workspace(Settings(home=home, company=company))
    trained = train(ws, "quiet_fortnight", last_day(ws), trigger="manual")
    assert (ws.folder("models") / "quiet_fortnight" / "status.json").is_file(), trained

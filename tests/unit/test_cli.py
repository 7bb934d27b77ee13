"""The front door: quick help, one sentence for a fault, status at any stage."""

import json
import subprocess
import sys
import time

import pytest

from infra import workspace as workspaces
from rapport.cli import commands, main
from rapport.cli.rows import write_rows
from rapport.cli.status import ring_status
from rapport_feast.errors import Rejected, Terminal, Transient

KEYS = ["company", "night", "facts", "features", "online", "models", "drift", "runs"]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return int(stop.value.code or 0)


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.startswith("rapport: ")
    return printed


def test_help_answers_within_a_second_without_heavy_imports():
    code = "import sys, rapport.cli.commands; print(*sorted({'duckdb', 'pandas', 'pyarrow'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
    taken = []
    for _ in range(3):
        before = time.perf_counter()
        shown = subprocess.run([sys.executable, "-m", "rapport", "--help"], capture_output=True, text=True, check=True)
        taken.append(time.perf_counter() - before)
    assert min(taken) < 1
    for command in ("nightly", "backfill", "up", "status", "lookup", "serve", "rows", "airflow", "feature", "lineage"):
        assert f"  {command} " in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("status", "--company", "nowhere.toml"), "company: expected a folder with a company.toml"),
        (("nightly", "--night", "yesterday"), "night: expected a day as YYYY-MM-DD, found 'yesterday'"),
        (("backfill", "2026-06-02", "2026-06-01"), "LAST: expected a night from 2026-06-02 on"),
        (("backfill", "2026-06-02", "2999-06-01"), "night: expected a night that is over"),
        (("feature", "show", "customer_order"), "Did you mean customer_orders"),
        (("feature", "backfill", "customer_orders"), "group customer_orders: expected facts in silver/transactions"),
        (("lineage", "customer__orders__30"), "Did you mean customer__orders__30d"),
    ],
)
def test_bad_input_is_one_sentence(arguments, words, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("RAPPORT_HOME", str(tmp_path))
    assert run(*arguments) == commands.REJECTED
    assert words in sentence(capsys)


@pytest.mark.parametrize(("name", "value"), [("RAPPORT_THREADS", "many"), ("RAPPORT_ENGINE", "abacus")])
def test_a_wrong_setting_is_named(name, value, capsys, monkeypatch):
    monkeypatch.setenv(name, value)
    assert run("status") == commands.REJECTED
    printed = sentence(capsys)
    assert name in printed
    assert value in printed


@pytest.mark.parametrize(
    ("error", "code"), [(Rejected("x", "y"), 2), (Transient("Later."), 75), (Terminal("Never."), 70)]
)
def test_the_exit_code_says_what_a_caller_can_do(error, code, capsys, monkeypatch):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(workspaces, "open_workspace", fail)
    assert run("status") == code
    assert str(error) in sentence(capsys)


def test_a_wrong_option_is_the_command_lines_own_fault(capsys):
    assert run("status", "--colour") == 2
    assert "No such option" in capsys.readouterr().err


def test_status_before_anything_ran(workspace):
    state = ring_status(workspace())
    assert list(state) == KEYS
    assert state["night"] is None
    assert state["online"] == {"keys": 0}
    assert state["runs"] == []
    assert state["drift"] == {"verdict": None, "at": None}
    assert all(set(counts.values()) == {0} for counts in state["facts"].values())
    assert all(entry["rows"] == 0 and entry["newest"] is None for entry in state["features"].values())
    assert all(model["champion"] is None for model in state["models"].values())


def test_status_json_and_for_a_reader_agree(workspace, monkeypatch, capsys):
    ws = workspace()
    for name, value in ws.environment().items():
        monkeypatch.setenv(name, value)
    assert run("status", "--json") == 0
    state = json.loads(capsys.readouterr().out)
    assert run("status") == 0
    shown = capsys.readouterr().out
    assert list(state) == KEYS
    for word in (state["company"], *state["facts"], *state["features"], *state["models"]):
        assert word in shown


@pytest.mark.slow
def test_status_of_a_ring_that_ran(small_ring):
    state = ring_status(small_ring)
    assert state["night"] == "2026-07-03"
    for counts in state["facts"].values():
        assert counts["read"] == counts["silver"] + counts["quarantined"] + counts["duplicates"] > 0
    assert all(
        entry["rows"] > 0 and entry["newest"] == "2026-07-03T23:59:59.999999Z" for entry in state["features"].values()
    )
    assert state["online"]["keys"] > 0
    assert set(state["models"]) == {model.name for model in small_ring.company.models}
    assert all(model["reason"] for model in state["models"].values())


def test_rows_are_printed_in_their_order(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RAPPORT_HOME", str(tmp_path))
    assert run("rows") == 2
    assert "Run make test first." in sentence(capsys)
    write_rows(tmp_path, "test", {"R10": {"a::b": "passed"}, "R9": {"a::d": "passed"}})
    assert run("rows") == 0
    assert capsys.readouterr().err == "make assure has not been run.\n"
    write_rows(tmp_path, "assure", {"R10": {"a::c": "failed"}})
    assert run("rows") == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["row", "tests", "passed"], ["R9", "a::d", "yes"], ["R10", "a::b", "no"], ["a::c"],
    ]  # fmt: skip

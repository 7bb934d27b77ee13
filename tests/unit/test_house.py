"""The house keeps its own rules: imports, sizes, docstrings, and the notes on which test shows what."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from infra.settings import ROOT
from rapport.cli.rows import missing_parts, read_rows, rows_file

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LINTER = PROJECT["tool"]["importlinter"]
ROOMS = {"rapport_feast", "infra", "validation", "features", "training", "serving", "dags", "rapport"}
ADDRESSES = {
    "airflow": "dags.nightly",
    "deltalake": "infra.lake.lake",
    "evidently": "validation.watch.evidently_tests",
    "feast": "features.store.repo",
    "great_expectations": "validation.gate.suites",
    "mlflow": "infra.models.registry",
    "pyspark": "infra.engine.spark_engine",
}
# One planted import for each way to break a rule, and the contract that must notice it.
UPWARDS = [
    ("rapport_feast.delta", "infra.lake.lake", "one-way"),
    ("infra.lake.lake", "validation.gate.run", "one-way"),
    ("validation.gate.run", "features.compute.build", "one-way"),
    ("features.compute.build", "training.run", "one-way"),
    ("training.run", "serving.http.app", "one-way"),
    ("serving.http.app", "training.run", "one-way"),
    ("serving.http.app", "dags.nightly", "one-way"),
    ("training.run", "rapport.cli.commands", "one-way"),
    ("dags.nightly", "rapport.cli.commands", "one-way"),
    ("rapport.cli.commands", "dags.nightly", "one-way"),
    ("serving.http.app", "infra.models.registry", "light-serving"),
]
ASTRAY = [
    ("features.compute.build" if library != "pyspark" else "features.store.repo", library, library)
    for library in ADDRESSES
]


# The inner order of the rooms: an import from the lowest layer to the highest breaks it.
ORDERS = [contract for contract in LINTER["contracts"] if contract["id"].startswith("inside-")]
INNER = {
    contract["id"]: [f"{room}.{contract['layers'][place].split(' | ')[0].strip('()')}.inside" for place in (-1, 0)]
    for contract in ORDERS
    for room in contract["containers"]
}
LONGEST_MODULE = 400
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def plant(tree: Path, importer: str, imported: str) -> None:
    with (tree / importer.replace(".", "/")).with_suffix(".py").open("a") as file:
        file.write(f"import {imported}\n")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tiny house in which every heavy library stands at its own address, under our own contracts."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    modules = {*ADDRESSES.values(), *(module for planted in UPWARDS for module in planted[:2])}
    modules |= {"rapport_feast.online", "infra.log.spark_reader"}
    modules |= {
        f"{room}.{name.strip('()')}.inside"
        for contract in ORDERS
        for room in contract["containers"]
        for layer in contract["layers"]
        for name in layer.split(" | ")
    }
    for module in sorted(modules):
        path = tmp_path / module.replace(".", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").touch()
        for folder in path.relative_to(tmp_path).parents:
            if folder != Path("."):
                (tmp_path / folder / "__init__.py").touch()
    for library, address in ADDRESSES.items():
        plant(tmp_path, address, library)
    return tmp_path


def broken(tree: Path) -> set[str]:
    """Names of the contracts that do not hold in a tree."""
    script = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    command = [sys.executable, "-c", script]
    environment = dict(os.environ) | {"PYTHONPATH": str(tree), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    return {c["id"] for c in LINTER["contracts"] if f"{c['name']} BROKEN" in " ".join(done.stdout.split())}


def test_contracts_cover_every_room_and_every_heavy_library():
    contracts = {contract["id"]: contract for contract in LINTER["contracts"]}
    assert {path.parent.name for path in ROOT.glob("*/py.typed")} == ROOMS == set(LINTER["root_packages"])
    assert set(" | ".join(contracts["one-way"]["layers"]).split(" | ")) == ROOMS
    protected = {name for contract in contracts.values() for name in contract.get("protected_modules", ())}
    assert protected == set(ADDRESSES)
    assert not any("ignore_imports" in contract for contract in contracts.values())


def test_a_house_in_order_breaks_nothing(tree):
    assert broken(tree) == set()


@pytest.mark.parametrize(("importer", "imported", "contract"), UPWARDS)
def test_an_import_against_the_ring_is_found(tree, importer, imported, contract):
    plant(tree, importer, imported)
    assert contract in broken(tree)


def test_an_import_against_the_order_inside_a_room_is_found(tree):
    for importer, imported in INNER.values():
        plant(tree, importer, imported)
    assert broken(tree) == {*INNER}


def test_a_circle_inside_a_room_is_found(tree):
    plant(tree, "rapport.stack.inside", "rapport.lineage.inside")
    plant(tree, "rapport.lineage.inside", "rapport.stack.inside")
    assert "no-circles" in broken(tree)


def test_no_module_is_long():
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {path: n for path, n in lines.items() if n > LONGEST_MODULE} == {}


def test_every_room_says_in_one_to_three_lines_what_it_is_for():
    docstrings = {
        str(path.relative_to(ROOT)): ast.get_docstring(ast.parse(path.read_text())) or ""
        for path in SOURCES
        if path.name == "__init__.py"
    }
    assert {path: text for path, text in docstrings.items() if not 1 <= len(text.splitlines()) <= 3} == {}


def test_every_path_in_the_docs_exists():
    pages = [ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
    rooms = "|".join([*ROOMS, "companies", "docs", "tests"])
    named = {path for page in pages for path in re.findall(rf"`((?:{rooms})/[\w./-]*)`", page.read_text())}
    in_a_wheel = {"rapport/_rooms/"}
    assert {path for path in named - in_a_wheel if not (ROOT / path).exists()} == set()


def test_a_heavy_library_away_from_its_address_is_found(tree):
    for importer, library, _ in ASTRAY:
        plant(tree, importer, library)
    assert broken(tree) == {contract.replace("_", "-") for *_, contract in ASTRAY}


def test_every_folder_of_tests_is_a_package():
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert [folder.name for folder in folders if not (folder / "__init__.py").exists()] == []


ROW_TESTS = """
import pytest
@pytest.mark.row("R1")
def test_good(): pass
@pytest.mark.row("R1", "T2")
@pytest.mark.parametrize("n", [1, 2])
def test_half(n): assert n == 1
@pytest.mark.row("R3")
def test_absent(): pytest.skip("no part")
@pytest.mark.assure
@pytest.mark.row("R1")
def test_long(): pass
"""
INI = "[pytest]\nmarkers =\n  row: x\n  assure: x\ntestpaths = .\n"


@pytest.mark.parametrize(("ci", "absent", "processes"), [("", "skipped", ()), ("true", "failed", ("-n", "2"))])
def test_rows_are_noted_by_whole_runs_of_a_part_only(pytester: pytest.Pytester, monkeypatch, ci, absent, processes):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("RAPPORT_HOME", str(pytester.path / "home"))
    pytester.makeini(INI)
    pytester.makepyfile(ROW_TESTS)
    home = pytester.path / "home"
    run = ["-p", "tests.rows", "-p", "no:cacheprovider", "-q"]
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.runpytest_subprocess(*run, "-k", "good")
    assert missing_parts(home) == ["test", "assure"]
    pytester.runpytest_subprocess(*run, *processes, "-m", "not assure")
    assert missing_parts(home) == ["assure"]
    pytester.runpytest_subprocess(*run, *processes, "-m", "assure")
    assert missing_parts(home) == []
    in_parts = read_rows(home)
    found = {row: {test.split("::")[1]: outcome for test, outcome in tests.items()} for row, tests in in_parts.items()}
    assert found == {
        "R1": {"test_good": "passed", "test_half": "failed", "test_long": "passed"},
        "R3": {"test_absent": absent},
        "T2": {"test_half": "failed"},
    }
    pytester.runpytest_subprocess(*run, *processes)
    assert read_rows(home) == in_parts
    assert not rows_file(home, "test").exists()

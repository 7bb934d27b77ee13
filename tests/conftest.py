"""What most tests need: small companies, one whole small ring, the public data."""

import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import prometheus_client  # noqa: F401  # before Feast, by which all counters of one name in a process would be one
import pytest
from hypothesis import HealthCheck, settings

from infra.clock import FixedClock, cutoff
from infra.settings import ROOT, Settings
from infra.workspace import Workspace, open_workspace
from rapport_feast.times import DAY

pytest_plugins = ("tests.rows", "pytester")

settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI", "").lower() == "true" else "local")

CUSTOMERS, DAYS = 300, 40
MakeWorkspace = Callable[..., Workspace]
CopyRing = Callable[[], Workspace]


# The files that take minutes, the longest first: with them begun, the short ones even the processes out at the end.
LONGEST = (
    "dags/test_runs.py",
    "property/test_features.py",
    "contract/test_engines.py",
    "faults/test_killed.py",
    "faults/test_nights.py",
    "contract/test_spark_stream.py",
    "faults/test_simulated_day.py",
    "contract/test_readme.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin."""
    places = {item.path: place for item in items for place, file in enumerate(LONGEST) if item.path.match(file)}
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))


def pytest_configure() -> None:
    """Give the main module a file where it has none, as in processes of xdist: PySpark would end those silently."""
    main = sys.modules["__main__"]
    if not hasattr(main, "__file__"):
        main.__file__ = pytest.__file__


@pytest.fixture(scope="session", autouse=True)
def _plain_environment():
    """Take the user's own settings away, except where the public data lies."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("RAPPORT_") and name != "RAPPORT_PUBLIC_DATA":
                patch.delenv(name)
        yield


@pytest.fixture
def workspace(tmp_path: Path) -> MakeWorkspace:
    """Make a small simulated company in this test's folder: ``workspace(customers=300, days=40, **world)``."""
    return lambda **options: small_workspace(tmp_path, **options)


@pytest.fixture(scope="session")
def small_ring(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a small company whose last night went round the ring. Read only: copy its ``root`` to change it."""
    from rapport.world import ensure
    from validation.sources.coverage import last_night

    ws = small_workspace(tmp_path_factory.mktemp("ring"))
    ensure(ws)
    run_ring(ws, last_night(ws))
    return ws


@pytest.fixture
def copy_ring(small_ring: Workspace, tmp_path: Path) -> CopyRing:
    """Copy the small ring, so that a test may change it; the online store stays behind."""

    def copy() -> Workspace:
        home = tmp_path / "copy"
        kept = shutil.ignore_patterns("valkey")
        shutil.copytree(small_ring.root, home / small_ring.company.name, symlinks=True, ignore=kept)
        return replace(small_ring, settings=small_ring.settings.model_copy(update={"home": home}))

    return copy


@pytest.fixture(scope="session")
def public_data() -> Path:
    """Return the folder of the public data sets."""
    folder = Settings().public_data
    if not folder.is_dir():
        pytest.skip(f"there is no public data at {folder}; RAPPORT_PUBLIC_DATA names another folder")
    return folder


def run_ring(ws: Workspace, night: date) -> None:
    """Run the steps of a night one after another, as the nightly DAG does."""
    from features.compute.build import build
    from features.store.publish import publish
    from training.run import train
    from validation.bronze.ingest import ingest
    from validation.gate.run import gate

    for step in (ingest, gate, build, publish):
        step(ws, night)
    for model in ws.company.models:
        train(ws, model.name, night)


def small_workspace(folder: Path, *, customers: int = CUSTOMERS, days: int = DAYS, **options: Any) -> Workspace:
    """Return a small simulated company in a folder; ``options`` are settings, or of the world where it has the name.

    Its company file lies in the folder too, so that child processes open the same company.
    """
    from rapport.world import WorldSettings, read_settings

    world = {name: options.pop(name) for name in tuple(options) if name in WorldSettings.model_fields}
    world = {"start": date(2026, 5, 25)} | world | {"customers": customers, "days": days}
    text = (ROOT / "companies" / "simulated" / "company.toml").read_text(encoding="utf-8")
    table = "\n".join(f"{name} = {value}" for name, value in world.items())
    text = re.sub(r"(?ms)^\[world\]\n.*?(?=^\[)", lambda _: f"[world]\n{table}\n\n", text)
    company = folder / "simulated.toml"
    company.write_text(text, encoding="utf-8")
    end = cutoff(read_settings(world).last_night) + DAY / 8
    return open_workspace(Settings(company=company, home=folder / "home", **options), FixedClock(end))

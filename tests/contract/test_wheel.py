"""The installed wheel beside other people's packages and Feast repositories that are called like our rooms."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from infra.redis.embedded import embedded_server
from infra.settings import ROOT
from rapport.rooms import ROOMS

OURS = {"rapport", "rapport_feast"}
BARE = (*ROOMS, "companies")
# A repository with one module a room, each with a view of its own, and a script that goes once through Feast.
MODULE = """
from datetime import timedelta
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Int64

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
{room}_view = FeatureView(
    name="{room}_view", entities=[user], ttl=timedelta(0), schema=[Field(name="user_id", dtype=Int64),
    Field(name="n", dtype=Int64)], source=FileSource(name="{room}_source", path={path!r}, timestamp_field="at"),
)
"""
FLOW = """
import json, sys
from datetime import UTC, datetime
import pandas as pd
from feast import FeatureStore
from feast.cli.cli import cli

def feast(*words):
    try:
        cli(list(words), standalone_mode=False)
    except SystemExit as ended:
        assert not ended.code, words

feast("plan"), feast("apply")
store = FeatureStore(".")
views = sorted(view.name for view in store.list_feature_views())
refs = [f"{name}:n" for name in views]
spine = pd.DataFrame({"user_id": [1, 2, 3], "event_timestamp": [datetime(2026, 1, 2, tzinfo=UTC)] * 3})
found = store.get_historical_features(spine, refs, full_feature_names=True).to_df().sort_values("user_id")
feast("materialize", "2025-12-31T00:00:00", "2026-01-03T00:00:00")
online = store.get_online_features(refs, [{"user_id": user} for user in (1, 2, 3)], full_feature_names=True).to_dict()
feast("apply")
left = sorted(view.name for view in store.list_feature_views())
modules = {name: sys.modules[name].__file__ for name in sys.argv[2:] if name in sys.modules}
told = [views, left, json.loads(found[[f"{name}__n" for name in views]].to_json()), online, modules]
open(sys.argv[1], "w").write(json.dumps(told, sort_keys=True))
"""
SPECS = "import importlib.util as u, json, sys; print(json.dumps([u.find_spec(n) is None for n in sys.argv[1:]]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


class Environment:
    """A fresh environment that sees the libraries of this one, and nothing of the checkout."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True)
        self.python = folder / "bin" / "python"
        self.packages = next((folder / "lib").glob("python*/site-packages"))
        # A plain line in a .pth: the .pth files of that folder itself, the editable install among them, do not count.
        (self.packages / "libraries.pth").write_text(sysconfig.get_paths()["purelib"])

    def run(self, *words: str, cwd: Path | str = "/", **more: str) -> str:
        """Run Python; return what it printed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAPPORT_"))}
        command = [str(self.python), "-W", "ignore", *words]
        done = subprocess.run(command, cwd=cwd, env=kept | more, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def install(self, wheel: Path) -> None:
        """Install a wheel without what it needs, which is there."""
        uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--python"]
        subprocess.run([*uv, str(self.python), str(wheel)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment"))


def repository(folder: Path, settings: str) -> Path:
    """Make a Feast repository with modules that are called like our rooms."""
    folder.mkdir()
    moments = pd.to_datetime(["2026-01-01", "2026-01-01"], utc=True).as_unit("us")
    for number, room in enumerate(BARE):
        rows = pd.DataFrame({"user_id": [1, 2], "n": [number, 10 * number], "at": moments})
        rows.to_parquet(folder / f"{room}.parquet")
        (folder / f"{room}.py").write_text(MODULE.format(room=room, path=str(folder / f"{room}.parquet")))
    (folder / "feature_store.yaml").write_text(
        f"project: strangers\nregistry: {folder}/registry.db\nprovider: local\n"
        f"entity_key_serialization_version: 3\n{settings}"
    )
    return folder


def stock(folder: Path) -> Path:
    online = f"online_store: {{type: sqlite, path: {folder}/online.db}}\n"
    return repository(folder, f"offline_store: {{type: duckdb}}\n{online}")


def flow(environment: Environment, folder: Path) -> list[Any]:
    """Plan, apply, read history, materialise and read online; return what was found."""
    environment.run("-c", FLOW, f"{folder}.json", *BARE, cwd=folder)
    told: list[Any] = json.loads(Path(f"{folder}.json").read_text())
    modules = told.pop()
    assert modules == {room: str(folder / f"{room}.py") for room in BARE}
    return told


def test_the_wheel_holds_two_names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == OURS
    assert {f"rapport/_rooms/{room}/py.typed" for room in ROOMS} <= set(names)
    assert "rapport/_rooms/companies/simulated/company.toml" in names or any(
        name.startswith("rapport/_rooms/companies/simulated/") for name in names
    )
    assert not any("/deploy/" in name for name in names)


def test_no_other_distribution_provides_our_names():
    owners = packages_distributions()
    assert {name: owners[name] for name in (*OURS, *BARE) if set(owners.get(name, ())) - {"rapport-ml"}} == {}


@pytest.mark.slow
def test_the_wheel_leaves_other_names_to_others(wheel, environment, tmp_path):
    """Stock Feast is the same with and without our wheel; with our stores it finds the same; ours runs from ``/``."""
    before = flow(environment, stock(tmp_path / "before"))
    assert before[0] == before[1] == sorted(f"{room}_view" for room in BARE)

    environment.install(wheel)
    assert json.loads(environment.run("-c", SPECS, *BARE, *sorted(OURS))) == [True] * len(BARE) + [False] * len(OURS)
    assert flow(environment, stock(tmp_path / "after")) == before

    with embedded_server(tmp_path) as server:
        address = f"127.0.0.1:{server.port},password={server.password}"
        plugins = (
            "offline_store: {type: rapport_feast.offline.RapportOfflineStore}\n"
            f"online_store: {{type: rapport_feast.online.RapportOnlineStore, connection_string: '{address}'}}\n"
            "batch_engine: {type: rapport_feast.engine.RapportEngine}\n"
        )
        assert flow(environment, repository(tmp_path / "ours", plugins)) == before

    # Somebody's package of such a name is theirs, and ours is found again in Rapport's own processes alone.
    for room in BARE:
        (environment.packages / room).mkdir()
        (environment.packages / room / "__init__.py").write_text("THEIRS = True\n")
    theirs = f"import {', '.join(BARE)}; assert {' and '.join(f'{room}.THEIRS' for room in BARE)}"
    environment.run("-c", theirs)
    entered = "import rapport.rooms as r; r.enter(); import features.catalogue as c, infra.settings as s; "
    found = environment.run("-c", f"{entered} assert s.Settings().company.exists(); print(c.__file__)")
    assert Path(found.strip()).is_relative_to(environment.packages / "rapport" / "_rooms")
    assert "nightly" in environment.run("-m", "rapport", "--help")
    assert "nightly" in environment.run(str(environment.python.with_name("rapport")), "--help")
    home = str(tmp_path / "state")
    assert environment.run("-m", "rapport", "feature", "list", RAPPORT_HOME=home)
    with pytest.raises(AssertionError, match="module features: expected the room of Rapport"):
        environment.run("-c", "import features, rapport.rooms as r; r.enter()")

"""A small simulated company in a folder of its own, and Airflow's environment for it."""

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from infra.settings import ROOT, Settings
from infra.workspace import Workspace, open_workspace

WORLD = {"customers": "300", "days": "40", "start": "2026-05-25", "seed": "7"}
LAST_NIGHT = date(2026, 7, 3)


@pytest.fixture
def company(tmp_path: Path) -> Callable[..., Workspace]:
    """Return a maker of workspaces on the simulated company in small.

    Settings of its world may be changed, and ``only`` names the sources that it keeps.
    """

    def make(only: tuple[str, ...] = (), **world: int) -> Workspace:
        stated = WORLD | {name: str(value) for name, value in world.items()}
        text = (ROOT / "companies" / "simulated" / "company.toml").read_text()
        before, rest = text.split("[world]\n", 1)
        after = rest[rest.index("\n[[") :]
        section = "".join(f"{name} = {value}\n" for name, value in stated.items())
        file = tmp_path / "company.toml"
        first, *tables = re.split(r"(?m)^(?=\[\[)", after)
        named = {table: re.search(r'name = "(\w+)"', table) for table in tables}
        kept = [t for t, n in named.items() if not only or t.startswith("[[models") or (n and n[1] in only)]
        file.write_text(f"{before}[world]\n{section}{first}{''.join(kept)}")
        return open_workspace(Settings(company=file, home=tmp_path / "state"))

    return make

"""What the lake holds of every version of a group: its nights, what it cost, what it was declared as, who pins it.

Read from commits, files and the registry of models; ``plan.py`` compares the catalogue with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.compute.tables import FEATURES, TILES
from infra.clock import Nights
from infra.lake.commit import Commit
from infra.models.bundle import LAST, champion, versions
from infra.models.manifest import Manifest
from infra.state_files import read_json
from infra.workspace import Workspace


@dataclass(frozen=True)
class GroupVersion:
    """A version of a group in the lake.

    Attributes
    ----------
    nights
        From the first to the newest that was built.
    size
        Bytes of both tables on disk.
    commits
        Those of its feature table, newest first.
    """

    view: str
    nights: Nights
    size: int
    commits: tuple[Commit, ...]

    @property
    def name(self) -> str:
        """The group's name."""
        return self.view.rpartition("_")[0]

    @property
    def definition(self) -> Mapping[str, Any]:
        """What it was declared as; empty where the commits do not say."""
        noted: Mapping[str, Any] = (self.commits[0].notes or {}).get("definition", {})
        return noted

    @property
    def seconds(self) -> float:
        """How long all of its builds took."""
        return round(sum(seconds for seconds, _ in self.builds), 3)

    @property
    def builds(self) -> list[tuple[float, int]]:
        """Seconds and nights of each build that noted them."""
        noted = ((commit.notes or {}, commit.nights) for commit in self.commits)
        return [(notes["seconds"], len(nights)) for notes, nights in noted if "seconds" in notes]


@dataclass(frozen=True)
class ModelUse:
    """A model's version that was trained on features of a view.

    Attributes
    ----------
    state
        ``champion``, ``newest`` (trained last, and watched for drift), or ``older``, which pins nothing.
    """

    model: str
    version: str
    state: str
    features: tuple[str, ...]

    @property
    def pins(self) -> bool:
        """Whether the view must stay for it."""
        return self.state != "older"

    def __str__(self) -> str:
        return f"{self.model} v{self.version} ({self.state})"


def group_versions(ws: Workspace) -> dict[str, GroupVersion]:
    """Return every version of every group that the lake holds, by view."""
    found = {}
    for table in ws.lake.tables():
        if table.startswith(FEATURES):
            view = table.removeprefix(FEATURES)
            commits = tuple(ws.lake.commits(table))
            nights = Nights(min(c.nights.first for c in commits), max(c.nights.last for c in commits))
            found[view] = GroupVersion(view, nights, disk_bytes(ws, view), commits)
    return found


def disk_bytes(ws: Workspace, view: str) -> int:
    """Return the bytes on disk of a view's two tables, with the older versions of nights that were written again."""
    folders = (Path(ws.lake.path(f"{layer}{view}")) for layer in (TILES, FEATURES))
    return sum(file.stat().st_size for folder in folders for file in folder.glob("*/*.parquet"))


def model_uses(ws: Workspace) -> dict[str, list[ModelUse]]:
    """Return per view the versions of models that were trained on it; a live view counts as its group's."""
    found: dict[str, list[ModelUse]] = {}
    for manifest in versions(ws):
        by_view: dict[str, list[str]] = {}
        for feature in manifest.features:
            view = feature.ref.partition(":")[0].removesuffix("__live")
            by_view.setdefault(view, []).append(feature.name)
        state = model_state(ws, manifest)
        for view, features in by_view.items():
            found.setdefault(view, []).append(ModelUse(manifest.name, manifest.version, state, tuple(features)))
    return found


def model_state(ws: Workspace, manifest: Manifest) -> str:
    """Return whether a version serves, is the newest, or neither."""
    serving, last = champion(ws, manifest.name), read_json(ws.folder("models") / manifest.name / LAST)
    if serving and serving.version == manifest.version:
        return "champion"
    return "newest" if last and last["version"] == manifest.version else "older"

"""The artifact cache: views and champions as last read; a new champion that cannot be trusted is refused."""

from pathlib import Path

from features.catalogue import catalogue_of
from infra.models.bundle import CHAMPION, Champion
from infra.models.scorer import Scorer, load_scorer
from infra.workspace import Workspace
from rapport_feast.errors import RapportError
from serving.lookup.plans import Planner
from serving.lookup.views import Views
from serving.lookup.views_file import VIEWS_FILE, load_views

FileStamp = tuple[int, int, int] | None


class ArtifactCache:
    """The views and models last read from their files; each file is read again when it changes."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.views: Views | None = None
        self.planner: Planner | None = None
        self.views_error = ""
        self.models: dict[str, Scorer] = {}
        self.refused: dict[str, str] = {}
        self._stamps: dict[Path, FileStamp] = {}

    def refresh_views(self) -> None:
        """Read the views again if their file changed; faulty ones leave the old ones in place."""
        folder = self.ws.folder("feast")
        if not self._changed(folder / VIEWS_FILE):
            return
        try:
            self.views, self.views_error = load_views(folder, catalogue_of(self.ws.company)), ""
            self.planner = Planner(self.views)
        except (RapportError, OSError) as error:
            self.views_error = str(error)

    def refresh_models(self) -> None:
        """Load the champions that changed; one that is refused leaves the old one in place."""
        folders = {path.name: path for path in sorted(self.ws.folder("models").iterdir()) if path.is_dir()}
        for name in {*folders, *self.models}:
            folder = self.ws.folder("models") / name
            if self._changed(folder / CHAMPION):
                self._refresh(name, folder)

    def _refresh(self, name: str, folder: Path) -> None:
        self.refused.pop(name, None)
        try:
            champion = Champion.of(folder)
            if champion is None:
                self.models = {other: model for other, model in self.models.items() if other != name}
            elif name not in self.models or self.models[name].digest != champion.digest:
                self.models = self.models | {name: load_scorer(folder, champion)}
        except (RapportError, OSError) as error:
            self.refused[name] = str(error)

    def _changed(self, path: Path) -> bool:
        """Say whether a file is another than last time; the first time it always is."""
        try:
            status = path.stat()
            stamp: FileStamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        except FileNotFoundError:
            stamp = None
        if path in self._stamps and self._stamps[path] == stamp:
            return False
        self._stamps[path] = stamp
        return True

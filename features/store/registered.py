"""What Feast's registry knows of views: beside ``repo.py``, which tells it."""

from features.store.repo import open_store
from infra.workspace import Workspace


def registered_views(ws: Workspace) -> set[str]:
    """Return the names of the feature views in the registry; none before anything was applied."""
    if not (ws.folder("feast") / "applied.json").exists():
        return set()
    return {str(view.name) for view in open_store(ws).list_feature_views()}

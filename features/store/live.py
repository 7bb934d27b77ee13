"""Live views in history: what the offline store calls, by import path, for values at the very moment."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from features.catalogue import catalogue_of
from features.compute.historical import historical
from infra.settings import Settings
from infra.workspace import open_workspace
from rapport_feast.errors import Rejected


def live_values(settings: Mapping[str, Any], view: str, group: str, asked: pa.Table) -> pa.Table:
    """Return the values of a live view at some moments, as ``rapport_feast.live`` has it.

    Parameters
    ----------
    settings
        Those of the workspace that holds the facts.

    Raises
    ------
    Rejected
        The view is of a definition that the catalogue no longer has.
    """
    ws = open_workspace(Settings(**settings))
    declared = catalogue_of(ws.company).group(group)
    if view != declared.live_view:
        raise Rejected(f"view {view}", f"the current one, {declared.live_view}")
    return historical(ws, declared, asked)

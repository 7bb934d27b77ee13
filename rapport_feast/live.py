"""Live views: values that are computed at the very moment, by a function that the settings name.

The function is given the settings, the view's name, its group's name, and a table of the join key (text),
``event_time`` and ``position``; it returns a table with ``position`` and the view's features.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from rapport_feast.errors import Rejected

Compute = Callable[[Mapping[str, Any], str, str, pa.Table], pa.Table]
REMEDY = "In a process of your own, call rapport.rooms.enter() first."


def live_function(path: str | None) -> Compute:
    """Return the function at an import path.

    Raises
    ------
    Rejected
        No path was given, or there is no such function.
    """
    expected = "the import path module:function of what computes live views"
    if path is None:
        raise Rejected("offline_store.live", expected, "none")
    module, _, function = path.partition(":")
    try:
        found: Compute = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise Rejected("offline_store.live", expected, f"{path} ({error})", REMEDY) from error
    return found

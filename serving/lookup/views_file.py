"""The published views are read from the data-only ``views.json``, so that serving needs neither Feast nor the lake."""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from features.declare.catalogue import Catalogue
from rapport_feast.errors import Rejected
from serving.lookup.views import Reference, View, Views

VIEWS_FILE = "views.json"


def load_views(folder: Path, catalogue: Catalogue) -> Views:
    """Read the published views from Feast's folder.

    Raises
    ------
    Rejected
        Nothing was published yet, or the file is not in the form that publishing writes.
    """
    try:
        content = json.loads((folder / VIEWS_FILE).read_text(encoding="utf-8"))
        views = {name: _view(name, entry) for name, entry in content["views"].items()}
        segment = content["segment"]
        return Views(
            str(content["project"]),
            date.fromisoformat(content["night"]),
            views,
            Reference(*segment.split(":")) if segment else None,
            catalogue,
        )
    except FileNotFoundError:
        raise Rejected("published views", f"the file {VIEWS_FILE}", "none", "Run the nightly ring first.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Rejected("published views", f"{VIEWS_FILE} as publishing writes it", repr(error)) from None


def _view(name: str, entry: Mapping[str, Any]) -> View:
    served = entry["served"]
    if served not in ("nightly", "live") or (served == "live") != ("nightly" in entry):
        raise ValueError(f"{name} is served {served}")
    view = View(
        name,
        str(entry["group"]),
        str(entry["entity"]),
        str(entry["key"]),
        {str(feature): str(dtype) for feature, dtype in entry["features"].items()},
        str(entry["version"]),
        int(entry["freshness_seconds"]),
        served,
        str(entry["prior"]),
        entry.get("nightly"),
        dict(entry["defaults"]),
        tuple(entry.get("elapsed", ())),
        tuple(entry.get("derived", ())),
    )
    _ = view.packing.form  # types and version that nothing can be packed with are refused here
    return view

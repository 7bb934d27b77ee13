"""What Feast's registry knows of views: beside ``repo.py``, which tells it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from datetime import date
from io import StringIO
from typing import Any

import feast
from feast import FeatureStore, RepoConfig

from features.catalogue import groups_of
from features.declare.group import Group
from features.store.objects import repository
from features.store.published import path_of
from infra.clock import cutoff
from infra.workspace import Workspace
from rapport_feast.atomic import write_json
from rapport_feast.locks import exclusive_lock
from rapport_feast.row.address import OnlineStore
from rapport_feast.tags import PACKED_TAG


def registered_views(ws: Workspace) -> set[str]:
    """Return the names of the feature views in the registry; none before anything was applied."""
    if not (ws.folder("feast") / "applied.json").exists():
        return set()
    return {str(view.name) for view in open_store(ws).list_feature_views()}


# Where materialisation keeps what a killed run goes on with.
UNFINISHED = ".publish"


# Of the settings, what a live view needs to be computed.
LIVE = "features.store.live:live_values"
SHARED = {"company", "home", "public_data", "engine", "threads", "memory"}


def open_store(
    ws: Workspace, online: OnlineStore | None = None, known_by: date | None = None, *, replace: bool = False
) -> FeatureStore:
    """Return the company's feature store.

    Parameters
    ----------
    online
        Where the online values go; a store opened without it only reads history.
    known_by
        The night after which nothing is seen.
    replace
        Whether rows that are materialised take the place of those of the very same times.
    """
    config = RepoConfig(
        project=ws.company.name,
        provider="local",
        registry={"registry_type": "sql", "path": ws.metadata_url("feast")},
        offline_store=offline_store(ws, known_by),
        online_store=online_config(online),
        batch_engine={
            "type": "rapport_feast.engine.RapportEngine",
            "replace": replace,
            "folder": str(ws.folder("feast") / UNFINISHED),
        },
        entity_key_serialization_version=3,
    )
    config.repo_path = ws.folder("feast")
    return FeatureStore(config=config)


def online_config(online: OnlineStore | None) -> dict[str, Any]:
    """Return the settings of the online store."""
    address = {"connection_string": online.feast_connection_string} if online else {}
    kind = {"redis_type": "redis_cluster"} if online and online.cluster else {}
    return {"type": "rapport_feast.online.RapportOnlineStore", **address, **kind}


def offline_store(ws: Workspace, known_by: date | None = None) -> dict[str, Any]:
    """Return the settings of the offline store."""
    return {
        "type": "rapport_feast.offline.RapportOfflineStore",
        "known_by": cutoff(known_by) if known_by else None,
        "publications": str(path_of(ws)),
        "live": LIVE,
        "live_settings": ws.settings.model_dump(mode="json", include=SHARED),
        "threads": ws.settings.threads,
        "memory": ws.settings.memory,
        "spill": str(ws.lake.spill()),
    }


def apply_definitions(ws: Workspace, store: FeatureStore, services: Mapping[str, Sequence[str]] | None = None) -> bool:
    """Tell Feast what the catalogue says, unless it was told before.

    Parameters
    ----------
    services
        Name and references of each model; services that are not named stay as they are.

    Returns
    -------
    bool
        Whether anything was applied.
    """
    groups, services = groups_of(ws.company), services or {}
    told = ws.folder("feast") / "applied.json"
    wanted = {"views": definitions(ws, groups)} | {f"service:{n}": sorted(refs) for n, refs in services.items()}
    # Tasks that publish and train begin together; Feast's registry bears one writer.
    with exclusive_lock(told.with_suffix(".lock")), redirect_stdout(StringIO()):
        applied = json.loads(told.read_text(encoding="utf-8")) if told.exists() else {}
        if wanted.items() <= applied.items():
            return False
        store.apply(repository(groups, services, ws.lake.root))
        write_json(told, applied | wanted)
    return True


def definitions(ws: Workspace, groups: Sequence[Group]) -> str:
    """Return a digest of everything about the groups that Feast is told."""
    stated = [
        [
            g.view,
            g.entity.name,
            g.entity.key,
            g.owner,
            g.purpose,
            g.served,
            g.description,
            *((f.name, f.dtype, f.meaning) for f in g.outputs),
        ]
        for g in groups
    ]
    return hashlib.sha256(
        json.dumps([feast.__version__, PACKED_TAG, str(ws.lake.root), ws.metadata_url("feast"), stated]).encode()
    ).hexdigest()

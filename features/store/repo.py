"""The company's Feast repository, configured and applied from code.

Before it the catalogue and the gold tables, after it the two ways out of Feast: ``history`` for training sets,
``publish`` for the online store. The stores named here are Feast's own; ours slide in by their import paths.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import feast
import ibis
from feast import FeatureStore, RepoConfig
from feast.repo_config import MaterializationConfig

from features.catalogue import groups_of
from features.spec import Group
from features.store.objects import repository
from features.store.sources import source_folder
from infra.locks import alone
from infra.online import OnlineStore
from infra.workspace import Workspace

ROWS_A_WRITE = 1000
OFFLINE_STORE = {"type": "duckdb"}


def open_store(ws: Workspace, online: OnlineStore | None = None) -> FeatureStore:
    """Return the company's feature store.

    Parameters
    ----------
    online
        Where the online values go; a store opened without it only reads history.

    Notes
    -----
    Feast's DuckDB store works in the default connection of Ibis, which gets the lake's limits here.
    """
    ibis.set_backend(ibis.duckdb.from_connection(ws.lake.connect()))
    address = {"connection_string": online.feast_connection_string} if online else {}
    config = RepoConfig(
        project=ws.company.name,
        provider="local",
        registry={"registry_type": "sql", "path": ws.metadata_url("feast")},
        offline_store=OFFLINE_STORE,
        online_store={"type": "redis", **address},
        entity_key_serialization_version=3,
        materialization=MaterializationConfig(online_write_batch_size=ROWS_A_WRITE),
    )
    config.repo_path = ws.folder("feast")
    return FeatureStore(config=config)


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
    with alone(told.with_suffix(".lock")), redirect_stdout(StringIO()):
        applied = json.loads(told.read_text(encoding="utf-8")) if told.exists() else {}
        if wanted.items() <= applied.items():
            return False
        store.apply(repository(groups, services, source_folder(ws)))
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
            g.description,
            *((f.name, f.dtype, f.meaning) for f in g.outputs),
        ]
        for g in groups
    ]
    return hashlib.sha256(
        json.dumps([feast.__version__, str(source_folder(ws)), ws.metadata_url("feast"), stated]).encode()
    ).hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a small JSON file, whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
    fresh.replace(path)

"""Rapport's materialisation for Feast: columns stay columns, memory stays flat, a killed run goes on where it was.

A plug-in: name ``rapport_feast.engine.RapportEngine`` as the type of the batch engine; ``feast materialize`` and
``materialize-incremental`` stay as they are. The newest row of each key is written to a file first, in portions; then
each portion goes online, and a mark in the online store says how many did: what loses the rows loses the mark. A run
that finds the file of the same view, interval and source does the rest.

What this does not do faster (views with transformations, those written offline as well, other online stores) it leaves
to Feast's own local engine, whose subclass it is.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureView, utils
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel

from rapport_feast.job import RapportRetrievalJob
from rapport_feast.locks import exclusive_lock
from rapport_feast.online import RapportOnlineStore
from rapport_feast.online_write import packing_of
from rapport_feast.portions import Mark, Portions, spooled_rows
from rapport_feast.row import encoding
from rapport_feast.source_rows import KEY_TYPES, Source, encode_source_rows, source_of
from rapport_feast.tags import SERVED_TAG


class RapportEngineConfig(FeastConfigBaseModel):
    """Settings of the engine; the type alone is enough."""

    type: Literal["rapport_feast.engine.RapportEngine"] = "rapport_feast.engine.RapportEngine"

    replace: bool = False
    """Whether a row takes the place of another one of the very same event time and created time."""

    folder: str | None = None
    """Where what a killed run goes on with is kept; by default ``.materialize`` in the repository."""


class RapportEngine(LocalComputeEngine):
    """Materialises views."""

    def __init__(self, *, type: str = "", replace: bool = False, folder: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.replace, self._folder = replace, folder

    def _materialize_one(
        self, registry: BaseRegistry, task: MaterializationTask, **kwargs: Any
    ) -> LocalMaterializationJob:
        view: FeatureView = task.feature_view
        if (view.tags or {}).get(SERVED_TAG) == "live":  # its rows are the stream's, and the table holds the nights'
            return LocalMaterializationJob(view.name, MaterializationJobStatus.SUCCEEDED)
        if not self._takes(view):
            return super()._materialize_one(registry, task, **kwargs)
        name = f"{view.name}-{task.start_time}-{task.end_time}"
        try:
            entities = [registry.get_entity(entity, task.project) for entity in view.entities]
            self._materialise(task, source_of(view, entities))
        except Exception as error:  # noqa: BLE001  # Feast raises it again
            return LocalMaterializationJob(name, MaterializationJobStatus.ERROR, error=error)
        return LocalMaterializationJob(name, MaterializationJobStatus.SUCCEEDED)

    def _takes(self, view: FeatureView) -> bool:
        """Tell whether a view is one that is read from its source and written online, and nothing else."""
        return bool(
            isinstance(self.online_store, RapportOnlineStore)
            and view.online
            and not view.offline
            and not view.source_views
            and not getattr(view, "feature_transformation", None)
            and not getattr(view, "aggregations", None)
        )

    def _materialise(self, task: MaterializationTask, source: Source) -> None:
        view = task.feature_view
        keys, features, time, created = source.columns
        job = self.offline_store.pull_latest_from_table_or_query(
            config=self.repo_config,
            data_source=view.batch_source,
            join_key_columns=keys,
            feature_name_columns=features,
            timestamp_field=time,
            created_timestamp_column=created,
            start_date=task.start_time,
            end_date=task.end_time,
        )
        with self._portions(task, job) as portions:
            bar = task.tqdm_builder(portions.rows) if task.tqdm_builder else None
            for number, table in portions:
                self._write(view, source, table)
                portions.done(number + 1)
                if bar is not None:
                    bar.update(table.num_rows)
            if bar is not None:
                bar.close()

    @contextmanager
    def _portions(self, task: MaterializationTask, job: Any) -> Iterator["Portions"]:
        """Give the rows of a task in portions, without those that a killed run wrote."""
        if not isinstance(job, RapportRetrievalJob) or job.spool is None:
            yield Portions(job.to_arrow())
            return
        home = Path(self._folder or Path(self.repo_config.repo_path or ".") / ".materialize")
        home.mkdir(parents=True, exist_ok=True)
        name = self._name(task)
        with exclusive_lock(home / "lock"):
            rows = pq.ParquetFile(spooled_rows(home / name, job, job.spool))
            mark = Mark(self.online_store.client(self.repo_config), f"_materialise:{task.project}:{name}", job.state())
            with rows:
                yield Portions(rows, mark)
            mark.remove()
            shutil.rmtree(home / name)

    def _name(self, task: MaterializationTask) -> str:
        """Return a name for what is materialised where; a changed view or another interval has another one."""
        view, config = task.feature_view, self.repo_config
        stated = [
            task.project,
            config.online_store.connection_string,
            compute_versioned_name(view, config.registry.enable_online_feature_view_versioning),
            sorted((field.name, str(field.dtype)) for field in view.schema),
            str(task.start_time),
            str(task.end_time),
            self.replace,
        ]
        return hashlib.sha256(json.dumps(stated).encode()).hexdigest()[:16]

    def _write(self, view: FeatureView, source: Source, table: pa.Table) -> None:
        table = table.rename_columns([source.mapping.get(column, column) for column in table.column_names])
        config, store, packing = self.repo_config, self.online_store, packing_of(view)
        size = encoding.chunk_rows(len(view.features))
        if packing is None or not set(source.keys.values()) <= KEY_TYPES.keys():
            for batch in table.to_batches(max_chunksize=size):
                store.online_write_batch(config, view, utils._convert_arrow_to_proto(batch, view, source.keys), None)
            return
        parts = (table.slice(first, size) for first in range(0, table.num_rows, size))
        replace = self.replace
        rows = (encode_source_rows(config, view, packing, source, part, replace=replace) for part in parts)
        store.write(config, rows)

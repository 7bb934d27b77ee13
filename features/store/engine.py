"""Rapport's materialisation for Feast: columns stay columns, memory stays flat, a killed run goes on where it was.

A plug-in: name ``features.store.engine.RapportEngine`` as the type of the batch engine; ``feast materialize`` and
``materialize-incremental`` stay as they are. The newest row of each key is written to a file first, in portions; then
each portion goes online, and a mark in the online store says how many did: what loses the rows loses the mark. A run
that finds the file of the same view, interval and source does the rest.

What this does not do faster (views with transformations, those written offline as well, other online stores) it leaves
to Feast's own local engine, whose subclass it is.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureView, RepoConfig, utils
from feast.entity import Entity
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from feast.value_type import ValueType

from features.store.offline import SERVED_TAG, RapportRetrievalJob
from features.store.online import RapportOnlineStore, packing_of
from features.store.published import write_json
from infra import online_rows
from infra.errors import Rejected
from infra.feast_form import feature_field, time_field
from infra.locks import alone
from infra.online_rows import Rows
from infra.packed import FOREVER_US, Packing, row_field

PORTION = 20_480
SPOOL = "rows.parquet"
MARK_SECONDS = 7 * 86_400
STAMP = pa.timestamp("us", "UTC")
KEY_TYPES = {ValueType.STRING: pa.string(), ValueType.INT64: pa.int64()}


class RapportEngineConfig(FeastConfigBaseModel):
    """Settings of the engine; the type alone is enough."""

    type: Literal["features.store.engine.RapportEngine"] = "features.store.engine.RapportEngine"

    replace: bool = False
    """Whether a row takes the place of another one of the very same event time and created time."""

    folder: str | None = None
    """Where what a killed run goes on with is kept; by default ``.materialize`` in the repository."""


@dataclass(frozen=True)
class Source:
    """What one view reads: Feast's names of the columns, and the view's own after the field mapping."""

    keys: dict[str, ValueType]
    columns: tuple[list[str], list[str], str, str | None]
    mapping: dict[str, str]
    time: str
    created: str | None


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
            self._materialise(task, _source(view, entities))
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
        with alone(home / "lock"):
            rows = pq.ParquetFile(_spooled(home / name, job, job.spool))
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
        size = online_rows.chunk_rows(len(view.features))
        if packing is None or not set(source.keys.values()) <= KEY_TYPES.keys():
            for batch in table.to_batches(max_chunksize=size):
                store.online_write_batch(config, view, utils._convert_arrow_to_proto(batch, view, source.keys), None)
            return
        parts = (table.slice(first, size) for first in range(0, table.num_rows, size))
        store.write(config, (encoded(config, view, packing, source, part, replace=self.replace) for part in parts))


@dataclass(frozen=True)
class Mark:
    """How many portions of a task are online, as a key beside them."""

    client: Any
    key: str
    source: list[str]

    @property
    def portions(self) -> int:
        """How many portions of the same source are online."""
        source, portions = self.client.hmget(self.key, "source", "portions")
        return int(portions) if source == self._source else 0

    def put(self, portions: int) -> None:
        """Say that so many are."""
        self.client.hset(self.key, mapping={"source": self._source, "portions": portions})
        self.client.expire(self.key, MARK_SECONDS)

    def remove(self) -> None:
        """Forget it: everything is online."""
        self.client.delete(self.key)

    @property
    def _source(self) -> bytes:
        return hashlib.sha256("\n".join(self.source).encode()).hexdigest().encode()


class Portions:
    """The rows to write in portions: of a file, from the first that is not online, or of a table."""

    def __init__(self, rows: pa.Table | pq.ParquetFile, mark: Mark | None = None) -> None:
        self._rows, self._mark = rows, mark
        self._first = mark.portions if mark else 0

    @property
    def rows(self) -> int:
        """How many rows are left."""
        if self._mark is None:
            return int(self._rows.num_rows)
        groups = range(self._first, self._rows.num_row_groups)
        return sum(self._rows.metadata.row_group(number).num_rows for number in groups)

    def __iter__(self) -> Iterator[tuple[int, pa.Table]]:
        if self._mark is None:
            for number, first in enumerate(range(0, self._rows.num_rows, PORTION)):
                yield number, self._rows.slice(first, PORTION)
            return
        for number in range(self._first, self._rows.num_row_groups):
            yield number, self._rows.read_row_group(number)

    def done(self, portions: int) -> None:
        """Say that so many portions are online."""
        if self._mark:
            self._mark.put(portions)


def encoded(
    config: RepoConfig, view: FeatureView, packing: Packing, source: Source, table: pa.Table, *, replace: bool
) -> Rows:
    """Return rows of a table as the writer takes them.

    Raises
    ------
    Rejected
        A row without a key or a time.
    """
    name = compute_versioned_name(view, config.registry.enable_online_feature_view_versioning)
    keys = {key: online_rows.column(table, key, KEY_TYPES[kind]) for key, kind in source.keys.items()}
    event = _micros(table, source.time)
    known = _micros(table, source.created, event) if source.created else event
    if any(key.null_count for key in keys.values()):
        raise Rejected(f"view {view.name}", "a join key in every row", "rows without one")
    columns = [
        online_rows.column(table, feature, online_rows.ARROW[dtype])
        for feature, dtype in zip(packing.names, packing.dtypes, strict=True)
    ]
    return Rows(
        online_rows.entity_keys(config.project, keys),
        (row_field(name), online_rows.packed(packing, columns, event, known, np.full(len(event), FOREVER_US))),
        (time_field(name), online_rows.stamps(event)),
        [feature_field(name, feature) for feature in packing.names],
        [online_rows.protobuf(column) for column in columns],
        replace=replace or source.created is None,
    )


def _source(view: FeatureView, entities: list[Entity]) -> Source:
    mapping = dict(view.batch_source.field_mapping or {})
    time, created = view.batch_source.timestamp_field, view.batch_source.created_timestamp_column or None
    keys = {field.name: field.dtype.to_value_type() for field in view.entity_columns} or {
        DUMMY_ENTITY_ID: ValueType.STRING
    }
    return Source(
        keys,
        utils._get_column_names(view, entities),
        mapping,
        mapping.get(time, time),
        mapping.get(created, created) if created else None,
    )


def _micros(table: pa.Table, name: str, absent: Any = None) -> Any:
    times = table[name].combine_chunks()
    if pa.types.is_timestamp(times.type) and times.type.tz is None:
        times = times.cast(pa.timestamp("us"), safe=False).cast(STAMP)
    numbers = online_rows.whole(times.cast(STAMP, safe=False)).cast(pa.int64())
    if not numbers.null_count:
        return np.asarray(numbers)
    if absent is None:
        raise Rejected(f"column {name}", "a time in every row", "rows without one")
    return np.where(np.asarray(numbers.is_null()), absent, np.asarray(numbers.fill_null(0)))


def _spooled(folder: Path, job: RapportRetrievalJob, spool: Callable[[Path, int], None]) -> Path:
    """Return the file of a job's rows: that of a killed run, if nothing of the source changed since."""
    file, told = folder / SPOOL, folder / "source.json"
    state = {"source": job.state()}
    if file.exists() and told.exists() and json.loads(told.read_text(encoding="utf-8")) == state:
        return file
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    spool(folder / f"{SPOOL}.new", PORTION)
    (folder / f"{SPOOL}.new").replace(file)
    write_json(told, state)
    return file

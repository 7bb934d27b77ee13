"""Rapport's offline store for Feast: on DuckDB, as known then, each row of the entity frame exactly once.

A plug-in: name ``features.store.offline.RapportOfflineStore`` as the type of the offline store. ``repo`` does so for a
company; any other Feast repository over Parquet files or Delta tables may as well.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from feast import FeatureView, OnDemandFeatureView, RepoConfig
from feast.data_source import DataSource
from feast.errors import (
    EntityTimestampInferenceException,
    FeastEntityDFMissingColumnsError,
    InvalidEntityType,
    SavedDatasetLocationAlreadyExists,
)
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.offline_stores.file_source import FileLoggingDestination, FileSource
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import get_pyarrow_schema_from_batch_source
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from feast.saved_dataset import SavedDatasetStorage
from feast.utils import compute_non_entity_date_range
from pydantic import Field

from features.store import files, point_in_time
from features.store.files import name, text
from features.store.point_in_time import MOMENT, POSITION, View
from features.store.published import PUBLISH_LAG, publication_times
from infra.errors import Rejected, Terminal

EVENT_TIMESTAMP = "event_timestamp"
GROUP_TAG, SERVED_TAG = "rapport.group", "served"


class RapportOfflineStoreConfig(FeastConfigBaseModel):
    """Settings of the store; a repository that is not Rapport's needs the type alone."""

    type: Literal["features.store.offline.RapportOfflineStore"] = "features.store.offline.RapportOfflineStore"

    as_known: bool = True
    """Only rows whose created timestamp is not later than the entity row's time count, where a source has one."""

    known_by: datetime | None = None
    """Rows created later do not exist."""

    publications: str | None = None
    """Record of when the nights of Rapport's views were published."""

    publish_lag: timedelta = PUBLISH_LAG
    """After which time a night counts as published that the record does not know."""

    lake: str | None = None
    """Root of Rapport's lake."""

    workspace: dict[str, Any] = Field(default_factory=dict)
    """Settings that open Rapport's workspace, for the views that are computed live."""

    threads: int | None = None
    memory: str | None = None
    spill: str | None = None
    """Limits of DuckDB and where it spills; its own defaults where there are none."""

    staging_location: str | None = None
    """Folder for results on disk, of ``to_remote_storage`` and ``to_sql``; by default a temporary one."""

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a DuckDB connection in UTC with these limits."""
        limits = {"threads": self.threads, "memory_limit": self.memory, "temp_directory": self.spill}
        con = duckdb.connect(config={key: value for key, value in limits.items() if value is not None})
        con.execute("SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
        return con


@dataclass(frozen=True)
class Entities:
    """The rows that are asked for: their own columns, untouched, and which of them is the time."""

    rows: pa.Table
    time: str

    def spine(self, con: duckdb.DuckDBPyConnection, keys: Mapping[str, str]) -> pa.Table:
        """Return position, moment and some columns of the rows under other names, which cannot clash."""
        if missing := {*keys} - {*self.rows.column_names}:
            raise FeastEntityDFMissingColumnsError({*keys}, missing)
        position = pa.array(np.arange(self.rows.num_rows))
        con.register("times", pa.table({POSITION: position, MOMENT: self.rows[self.time]}))
        # The same cast as for the times of the sources: so one microsecond is the same one on both sides.
        times = con.sql(f"SELECT {MOMENT}::TIMESTAMPTZ AS {MOMENT} FROM times ORDER BY {POSITION}").to_arrow_table()
        columns = {theirs: self.rows[column] for column, theirs in keys.items()}
        return pa.table({POSITION: position, MOMENT: times[MOMENT], **columns})

    def span(self) -> tuple[datetime | None, datetime | None]:
        """Return the first and the last moment."""
        times = pd.to_datetime(self.rows[self.time].to_pandas(), utc=True).dropna()
        return (times.min().to_pydatetime(), times.max().to_pydatetime()) if len(times) else (None, None)


@dataclass(frozen=True)
class Asked:
    """What is asked of one feature view: its features and the names they get."""

    view: FeatureView
    features: tuple[str, ...]
    names: tuple[str, ...]

    @cached_property
    def keys(self) -> dict[str, str]:
        """Join key of the view = column of the entity frame."""
        joined = self.view.projection.join_key_map
        own = (field.name for field in self.view.entity_columns if field.name != DUMMY_ENTITY_ID)
        return {key: joined.get(key, key) for key in own}

    @property
    def live(self) -> bool:
        """Whether the values are computed from the facts, at the very moment."""
        return bool(self.view.tags.get(SERVED_TAG) == "live" and GROUP_TAG in self.view.tags)


class RapportRetrievalJob(RetrievalJob):
    """A result that is computed when it is asked for.

    Parameters
    ----------
    compute
        Gives the rows.
    statement
        Gives a query for the same rows; it may write what the query reads into a folder.
    sources
        What a job reads that is one query over stored rows.
    spool
        Writes the rows to a Parquet file, in row groups of so many, without ever holding them all.
    """

    def __init__(
        self,
        config: RepoConfig,
        compute: Callable[[], pa.Table],
        statement: Callable[[Path], str],
        *,
        full_feature_names: bool = False,
        on_demand: Sequence[OnDemandFeatureView] = (),
        metadata: RetrievalMetadata | None = None,
        sources: Sequence[DataSource] = (),
        spool: Callable[[Path, int], None] | None = None,
    ) -> None:
        self._config, self._compute, self._statement = config, compute, statement
        self._sources, self.spool = sources, spool
        self._full_feature_names, self._on_demand, self._metadata = full_feature_names, list(on_demand), metadata

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named ``view__feature``."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """The on-demand views that Feast applies to the rows."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for."""
        return self._metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._compute()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._compute().to_pandas()
        return frame

    def to_sql(self) -> str:
        """Return a query that gives the rows in any DuckDB session in UTC; what it needs was put on disk."""
        return self._statement(self._staged())

    def state(self) -> list[str]:
        """Return what the files of its sources are like: a job of the same state gives the same rows."""
        settings = self._config.offline_store
        found = []
        for source in self._sources:
            for file in files.files_of(source, self._config.repo_path, _path(settings.lake)):
                told = Path(file).stat()
                found.append(f"{file} {told.st_size} {told.st_mtime_ns}")
        return found

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the rows to a Parquet file, or a folder of them."""
        source = storage.to_data_source()
        path = files.path_of(source, self._config.repo_path)
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=str(path))
        if files.is_delta(source):
            raise Rejected(f"saved data set {path}", "a Parquet file or folder", "a Delta table")
        folder = path.suffix != ".parquet"
        for old in path.glob("*.parquet") if folder else ():
            old.unlink()
        files.write(self.to_arrow(timeout=timeout), path / "rows.parquet" if folder else path)

    def supports_remote_storage_export(self) -> bool:
        """Return whether the settings name a folder to export to."""
        return self._config.offline_store.staging_location is not None

    def to_remote_storage(self) -> list[str]:
        """Write the rows to a new Parquet file in the staging location."""
        path = self._staged() / "rows.parquet"
        files.write(self.to_arrow(), path)
        return [str(path)]

    def _staged(self) -> Path:
        return Path(self._config.offline_store.staging_location or tempfile.gettempdir()) / f"rapport-{uuid4().hex}"


class RapportOfflineStore(OfflineStore):
    """Point-in-time joins and pulls over Parquet files and Delta tables."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **kwargs: Any,
    ) -> RetrievalJob:
        """Return the rows of an entity frame with the features that were known at their moment.

        Parameters
        ----------
        entity_df
            A frame, a query for DuckDB, or None for every entity with a row between ``start_date`` and ``end_date``,
            as known at the end.
        **kwargs
            ``start_date``, ``end_date``, and ``filter_by_created_timestamp``, which asks for ``as_known`` in this call.
        """
        history = History(
            config,
            [_asked(view, feature_refs, full_feature_names) for view in feature_views],
            as_known=config.offline_store.as_known or bool(kwargs.get("filter_by_created_timestamp")),
        )
        if entity_df is None:
            start, end = compute_non_entity_date_range(feature_views, kwargs.get("start_date"), kwargs.get("end_date"))
            history.everyone(start, end)
        else:
            start, end = history.ask(entity_df).span()
        entities = history.entities
        return RapportRetrievalJob(
            config,
            history.compute,
            history.statement,
            full_feature_names=full_feature_names,
            on_demand=OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            metadata=RetrievalMetadata(
                features=feature_refs,
                keys=[column for column in entities.rows.column_names if column != entities.time],
                min_event_timestamp=start,
                max_event_timestamp=end,
            ),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Return the newest row of each key within a span: by event time, then created, then place in the source."""
        columns = (join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        return _pulled(config, data_source, columns, lambda v: point_in_time.latest_sql(v, start_date, end_date))

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Return every row within a span, both ends included; an end that is not given is open."""
        columns = (join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        return _pulled(config, data_source, columns, lambda v: point_in_time.all_sql(v, start_date, end_date))

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Add rows, with exactly the columns of the source, to a view's Parquet file or folder."""
        source = _batch_source(feature_view)
        _, columns = get_pyarrow_schema_from_batch_source(config, source)
        if columns != table.column_names:
            raise ValueError(f"{feature_view.name}: expected the columns {columns}, found {table.column_names}.")
        files.append(source, table, config.repo_path)
        if progress:
            progress(table.num_rows)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,
        logging_config: LoggingConfig,
        registry: BaseRegistry,
    ) -> None:
        """Add logged features, a table or a folder of Parquet files, to the folder of their destination."""
        destination = logging_config.destination
        if not isinstance(destination, FileLoggingDestination):
            raise Rejected("logging destination", "a FileLoggingDestination", type(destination).__name__)
        ds.write_dataset(
            pq.read_table(data) if isinstance(data, Path) else data,
            FileSource.get_uri_for_file_path(config.repo_path, destination.path),
            format="parquet",
            basename_template=f"{uuid4().hex}-{{i}}.parquet",
            partitioning=destination.partition_by,
            existing_data_behavior="overwrite_or_ignore",
        )


@dataclass
class History:
    """One question for history: who is asked about, and which features of which views."""

    config: RepoConfig
    asked: list[Asked]
    as_known: bool
    entities: Entities = field(init=False)

    @property
    def settings(self) -> RapportOfflineStoreConfig:
        """The store's settings."""
        settings: RapportOfflineStoreConfig = self.config.offline_store
        return settings

    def ask(self, entity_df: pd.DataFrame | str) -> Entities:
        """Take the rows of a frame or of a query."""
        if isinstance(entity_df, str):
            with self.settings.connect() as con:
                rows = con.sql(entity_df).to_arrow_table()
        elif isinstance(entity_df, pd.DataFrame):
            rows = pa.Table.from_pandas(entity_df, preserve_index=False)
        else:
            raise InvalidEntityType(type(entity_df))
        if taken := sorted({column for one in self.asked for column in one.names} & {*rows.column_names}):
            raise Rejected("entity frame", "no column with the name of a feature", taken[0], "Ask for full names.")
        self.entities = Entities(rows, _time_of(rows.schema))
        return self.entities

    def everyone(self, start: datetime, end: datetime) -> None:
        """Take every entity that has a row within a span, at its end."""
        stored = [one for one in self.asked if not one.live and one.keys]
        keys = sorted({key for one in stored for key in one.keys.values()})
        if any(sorted(one.keys.values()) != keys for one in stored):
            raise Rejected("features without an entity frame", "views of the same entities", f"{', '.join(keys)}")
        with self.settings.connect() as con:
            queries = [point_in_time.keys_sql(self._view(con, one, own=True), start, end) for one in stored]
            listed = ", ".join(map(name, keys))
            found = f"SELECT DISTINCT {listed} FROM ({' UNION ALL BY NAME '.join(queries)}) ORDER BY ALL"
            rows = con.sql(found).to_arrow_table() if stored else pa.table({"one": [0]}).select([])
        times = pa.array([end] * (rows.num_rows if stored else 1), pa.timestamp("us", "UTC"))
        self.entities = Entities(
            rows.append_column(EVENT_TIMESTAMP, times) if stored else pa.table({EVENT_TIMESTAMP: times}),
            EVENT_TIMESTAMP,
        )

    def compute(self) -> pa.Table:
        """Return the entity rows, in their order, with the features."""
        found = self.entities.rows
        with self.settings.connect() as con:
            spine = self._spine(con)
            con.register("spine", spine)
            for one in self.asked:
                values = self._live(one, spine) if one.live else self._stored(con, one, spine.num_rows)
                for column in one.names:
                    found = found.append_column(column, values[column])
        return found

    def statement(self, folder: Path) -> str:
        """Write the entity rows to a folder and return the query that adds the features to them."""
        with self.settings.connect() as con:
            spine = self._spine(con)
            files.write(self.entities.rows, folder / "entities.parquet")
            files.write(spine, folder / "spine.parquet")
            asked = f"read_parquet({text(str(folder / 'spine.parquet'))})"
            columns, joins = ["entities.*"], ""
            for number, one in enumerate(self.asked):
                joins += f"\nLEFT JOIN ({self._query(con, one, spine, asked, folder)}) AS v{number} USING ({POSITION})"
                columns += [f"v{number}.f{i} AS {name(column)}" for i, column in enumerate(one.names)]
        rows = f"read_parquet({text(str(folder / 'entities.parquet'))}) AS entities"
        return (
            f"SELECT {', '.join(columns)}\nFROM {rows} JOIN {asked} AS spine"
            f" ON entities.file_row_number = spine.{POSITION}{joins}\nORDER BY spine.{POSITION}"
        )

    def _query(self, con: duckdb.DuckDBPyConnection, one: Asked, spine: pa.Table, asked: str, folder: Path) -> str:
        if not one.live:
            return point_in_time.join_sql(self._view(con, one), asked)
        values = self._live(one, spine).rename_columns([f"f{i}" for i in range(len(one.names))])
        path = folder / f"{uuid4().hex}.parquet"
        files.write(values.append_column(POSITION, spine[POSITION]), path)
        return f"SELECT * FROM read_parquet({text(str(path))})"

    @cached_property
    def _keys(self) -> dict[str, str]:
        """Key column of the entity frame = its name in the spine."""
        columns = dict.fromkeys(column for one in self.asked for column in one.keys.values())
        return {column: f"key{number}" for number, column in enumerate(columns)}

    def _spine(self, con: duckdb.DuckDBPyConnection) -> pa.Table:
        return self.entities.spine(con, self._keys)

    def _stored(self, con: duckdb.DuckDBPyConnection, one: Asked, rows: int) -> pa.Table:
        """Return the features of a view that is stored, one row per row of the spine."""
        met = con.sql(point_in_time.join_sql(self._view(con, one), "spine")).to_arrow_table()
        values = met.drop_columns(POSITION).rename_columns(list(one.names))
        return _placed(values, met[POSITION].to_numpy(), rows)

    def _live(self, one: Asked, spine: pa.Table) -> pa.Table:
        """Return the features of a view that is computed from the facts, one row per row of the spine."""
        from features.catalogue import group_named
        from features.live import historical
        from infra.settings import Settings
        from infra.workspace import open_workspace

        group = group_named(one.view.tags[GROUP_TAG])
        if one.view.name != group.live_view:
            raise Rejected(f"view {one.view.name}", f"the current one, {group.live_view}")
        moments = spine[MOMENT]
        if last := self.settings.known_by:
            latest = pa.scalar(last, moments.type)
            moments = pc.if_else(pc.greater(moments, latest), latest, moments)
        (key,) = one.keys.values()
        asked = pa.table(
            {group.entity.key: spine[self._keys[key]].cast("string"), "event_time": moments, POSITION: spine[POSITION]}
        )
        found = historical(open_workspace(Settings(**self.settings.workspace)), group, asked.drop_null())
        values = found.select(one.features).rename_columns(list(one.names))
        return _placed(values, found[POSITION].to_numpy(), spine.num_rows)

    def _view(self, con: duckdb.DuckDBPyConnection, one: Asked, *, own: bool = False) -> View:
        """Return a view as the join sees it, in the words of its source; keys in those of the spine, or their own."""
        source, settings = _batch_source(one.view), self.settings
        theirs = {new: old for old, new in source.field_mapping.items()}
        time, created = (theirs.get(c, c) for c in (source.timestamp_field, source.created_timestamp_column))
        keys = {theirs.get(key, key): column if own else self._keys[column] for key, column in one.keys.items()}
        features = tuple(theirs.get(feature, feature) for feature in one.features)
        known = None
        if self.as_known and created:
            nightly = GROUP_TAG in one.view.tags and settings.publications is not None
            times = publication_times(Path(settings.publications or ""), one.view.name) if nightly else None
            known = point_in_time.known_sql(created, times, settings.publish_lag)
        needed = [*keys, *features, time, *([created] if created else [])]
        rows = files.rows_of(con, source, needed, self.config.repo_path, _path(settings.lake))
        return View(rows, keys, time, created or None, features, one.view.ttl, known, settings.known_by)


def _asked(view: FeatureView, refs: Sequence[str], full: bool) -> Asked:
    prefix = f"{view.projection.name_to_use()}:"
    features = tuple(ref.removeprefix(prefix) for ref in refs if ref.startswith(prefix))
    shown = view.projection.name_alias or view.name
    return Asked(view, features, tuple(f"{shown}__{feature}" for feature in features) if full else features)


def _batch_source(view: FeatureView) -> DataSource:
    if view.batch_source is None:
        raise ValueError(f"Feature view '{view.name}' has no batch_source and cannot be queried.")
    return view.batch_source


def _pulled(
    config: RepoConfig,
    source: DataSource,
    columns: tuple[list[str], list[str], str, str | None],
    query: Callable[[View], str],
) -> RetrievalJob:
    """Return the job for a query over one source."""
    keys, features, time, created = columns
    settings: RapportOfflineStoreConfig = config.offline_store
    needed = [*keys, *features, time, *([created] if created else [])]

    def ask(con: duckdb.DuckDBPyConnection) -> str:
        rows = files.rows_of(con, source, needed, config.repo_path, _path(settings.lake))
        found = query(View(rows, {key: key for key in keys}, time, created or None, tuple(features)))
        # Feast files what has no entity under an entity of its own.
        return found if keys else f"SELECT *, {text(DUMMY_ENTITY_VAL)} AS {name(DUMMY_ENTITY_ID)} FROM ({found})"

    def compute() -> pa.Table:
        with settings.connect() as con:
            return con.sql(ask(con)).to_arrow_table()

    def statement(folder: Path) -> str:
        with settings.connect() as con:
            return ask(con)

    def spool(path: Path, rows: int) -> None:
        with settings.connect() as con:
            form = f"FORMAT parquet, COMPRESSION lz4_raw, ROW_GROUP_SIZE {rows}"
            con.execute(f"COPY ({ask(con)}) TO {text(str(path))} ({form})")

    return RapportRetrievalJob(config, compute, statement, sources=[source], spool=spool)


def _time_of(schema: pa.Schema) -> str:
    """Return which column of an entity frame is its time, by Feast's rule."""
    if EVENT_TIMESTAMP in schema.names:
        return EVENT_TIMESTAMP
    times = [column.name for column in schema if pa.types.is_timestamp(column.type)]
    if len(times) != 1:
        raise EntityTimestampInferenceException(EVENT_TIMESTAMP)
    return str(times[0])


def _placed(values: pa.Table, positions: Any, rows: int) -> pa.Table:
    """Return values in the order of the spine, null where none was found."""
    place = np.full(rows, -1)
    place[positions] = np.arange(len(positions))
    if np.count_nonzero(place >= 0) != len(positions):
        raise Terminal(f"{len(positions)} rows were found for {np.count_nonzero(place >= 0)} rows of the entity frame.")
    return values.combine_chunks().take(pa.array(place, mask=place < 0))


def _path(path: str | None) -> Path | None:
    return Path(path) if path else None

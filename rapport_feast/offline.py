"""Rapport's offline store for Feast: on DuckDB, as known then, each row of the entity frame exactly once.

A plug-in: name ``rapport_feast.offline.RapportOfflineStore`` as the type of the offline store. ``repo`` does so for a
company; any other Feast repository over Parquet files or Delta tables may as well.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from feast import FeatureView, OnDemandFeatureView, RepoConfig
from feast.data_source import DataSource
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.infra.offline_stores.file_source import FileLoggingDestination, FileSource
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import get_pyarrow_schema_from_batch_source
from feast.infra.registry.base_registry import BaseRegistry
from feast.utils import compute_non_entity_date_range

from rapport_feast import files, point_in_time
from rapport_feast.errors import Rejected
from rapport_feast.history import History
from rapport_feast.job import RapportRetrievalJob, pull_job
from rapport_feast.offline_config import OfflineStoreSettings
from rapport_feast.view_query import batch_source_of, query_of_view


class RapportOfflineStoreConfig(OfflineStoreSettings):
    """Settings of the store, in the module of its class: Feast finds either beside the other."""

    type: Literal["rapport_feast.offline.RapportOfflineStore"] = "rapport_feast.offline.RapportOfflineStore"


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
            [query_of_view(view, feature_refs, full_feature_names) for view in feature_views],
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
        return pull_job(config, data_source, columns, lambda v: point_in_time.latest_sql(v, start_date, end_date))

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
        return pull_job(config, data_source, columns, lambda v: point_in_time.all_sql(v, start_date, end_date))

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Add rows, with exactly the columns of the source, to a view's Parquet file or folder."""
        source = batch_source_of(feature_view)
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

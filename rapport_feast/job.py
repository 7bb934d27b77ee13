"""A result of the offline store that is computed when it is asked for."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import duckdb
import pandas as pd
import pyarrow as pa
from feast import OnDemandFeatureView, RepoConfig
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.saved_dataset import SavedDatasetStorage

from rapport_feast import files, sources
from rapport_feast.errors import Rejected
from rapport_feast.offline_config import OfflineStoreSettings
from rapport_feast.point_in_time import View
from rapport_feast.sql import literal, quoted


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
        found = []
        for source in self._sources:
            for file in files.files_of(source, self._config.repo_path):
                status = Path(file).stat()
                found.append(f"{file} {status.st_size} {status.st_mtime_ns}")
        return found

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the rows to a Parquet file, or a folder of them."""
        source = storage.to_data_source()
        path = sources.path_of(source, self._config.repo_path)
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=str(path))
        if sources.is_delta(source):
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


def pull_job(
    config: RepoConfig,
    source: DataSource,
    columns: tuple[list[str], list[str], str, str | None],
    query: Callable[[View], str],
) -> RetrievalJob:
    """Return the job for a query over one source."""
    keys, features, time, created = columns
    settings: OfflineStoreSettings = config.offline_store
    needed = [*keys, *features, time, *([created] if created else [])]

    def ask(con: duckdb.DuckDBPyConnection) -> str:
        rows = files.rows_of(con, source, needed, config.repo_path)
        found = query(View(rows, {key: key for key in keys}, time, created or None, tuple(features)))
        # Feast files what has no entity under an entity of its own.
        dummy = f"{literal(DUMMY_ENTITY_VAL)} AS {quoted(DUMMY_ENTITY_ID)}"
        return found if keys else f"SELECT *, {dummy} FROM ({found})"

    def compute() -> pa.Table:
        with settings.connect() as con:
            return con.sql(ask(con)).to_arrow_table()

    def statement(folder: Path) -> str:
        with settings.connect() as con:
            return ask(con)

    def spool(path: Path, rows: int) -> None:
        with settings.connect() as con:
            form = f"FORMAT parquet, COMPRESSION lz4_raw, ROW_GROUP_SIZE {rows}"
            con.execute(f"COPY ({ask(con)}) TO {literal(str(path))} ({form})")

    return RapportRetrievalJob(config, compute, statement, sources=[source], spool=spool)

"""Settings of the offline store."""

from datetime import datetime, timedelta
from typing import Any

import duckdb
from feast.repo_config import FeastConfigBaseModel
from pydantic import Field

from rapport_feast.publications import PUBLISH_LAG


class OfflineStoreSettings(FeastConfigBaseModel):
    """Settings of the store; a repository that is not Rapport's needs the type alone."""

    as_known: bool = True
    """Only rows whose created timestamp is not later than the entity row's time count, where a source has one."""

    known_by: datetime | None = None
    """Rows created later do not exist."""

    publications: str | None = None
    """Record of when the nights of Rapport's views were published."""

    publish_lag: timedelta = PUBLISH_LAG
    """After which time a night counts as published that the record does not know."""

    live: str | None = None
    """Import path ``module:function`` of what computes live views; see ``rapport_feast.live``."""

    live_settings: dict[str, Any] = Field(default_factory=dict)
    """Given to that function as they are."""

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

"""One historical question: who is asked about, and which features of which views, as known then."""

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast import RepoConfig
from feast.errors import InvalidEntityType

from rapport_feast import files, point_in_time
from rapport_feast.entities import EVENT_TIMESTAMP, Entities, time_column
from rapport_feast.errors import Rejected, Terminal
from rapport_feast.live import live_function
from rapport_feast.offline_config import OfflineStoreSettings
from rapport_feast.point_in_time import MOMENT, POSITION, View
from rapport_feast.publications import publication_times
from rapport_feast.sql import literal, quoted
from rapport_feast.tags import GROUP_TAG
from rapport_feast.view_query import ViewQuery, batch_source_of


@dataclass
class History:
    """One question for history: who is asked about, and which features of which views."""

    config: RepoConfig
    queries: list[ViewQuery]
    as_known: bool
    entities: Entities = field(init=False)

    @property
    def settings(self) -> OfflineStoreSettings:
        """The store's settings."""
        settings: OfflineStoreSettings = self.config.offline_store
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
        if taken := sorted({column for query in self.queries for column in query.names} & {*rows.column_names}):
            raise Rejected("entity frame", "no column with the name of a feature", taken[0], "Ask for full names.")
        self.entities = Entities(rows, time_column(rows.schema))
        return self.entities

    def everyone(self, start: datetime, end: datetime) -> None:
        """Take every entity that has a row within a span, at its end."""
        stored = [query for query in self.queries if not query.live and query.keys]
        keys = sorted({key for query in stored for key in query.keys.values()})
        if any(sorted(query.keys.values()) != keys for query in stored):
            raise Rejected("features without an entity frame", "views of the same entities", f"{', '.join(keys)}")
        with self.settings.connect() as con:
            statements = [point_in_time.keys_sql(self._view(con, query, own=True), start, end) for query in stored]
            listed = ", ".join(map(quoted, keys))
            found = f"SELECT DISTINCT {listed} FROM ({' UNION ALL BY NAME '.join(statements)}) ORDER BY ALL"
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
            for query in self.queries:
                values = self._live(query, spine) if query.live else self._stored(con, query, spine.num_rows)
                for column in query.names:
                    found = found.append_column(column, values[column])
        return found

    def statement(self, folder: Path) -> str:
        """Write the entity rows to a folder and return the query that adds the features to them."""
        with self.settings.connect() as con:
            spine = self._spine(con)
            files.write(self.entities.rows, folder / "entities.parquet")
            files.write(spine, folder / "spine.parquet")
            spine_sql = f"read_parquet({literal(str(folder / 'spine.parquet'))})"
            columns, joins = ["entities.*"], ""
            for number, query in enumerate(self.queries):
                joins += (
                    f"\nLEFT JOIN ({self._query(con, query, spine, spine_sql, folder)}) AS v{number} USING ({POSITION})"
                )
                columns += [f"v{number}.f{i} AS {quoted(column)}" for i, column in enumerate(query.names)]
        rows = f"read_parquet({literal(str(folder / 'entities.parquet'))}) AS entities"
        return (
            f"SELECT {', '.join(columns)}\nFROM {rows} JOIN {spine_sql} AS spine"
            f" ON entities.file_row_number = spine.{POSITION}{joins}\nORDER BY spine.{POSITION}"
        )

    def _query(
        self, con: duckdb.DuckDBPyConnection, query: ViewQuery, spine: pa.Table, spine_sql: str, folder: Path
    ) -> str:
        if not query.live:
            return point_in_time.join_sql(self._view(con, query), spine_sql)
        values = self._live(query, spine).rename_columns([f"f{i}" for i in range(len(query.names))])
        path = folder / f"{uuid4().hex}.parquet"
        files.write(values.append_column(POSITION, spine[POSITION]), path)
        return f"SELECT * FROM read_parquet({literal(str(path))})"

    @cached_property
    def _keys(self) -> dict[str, str]:
        """Key column of the entity frame = its name in the spine."""
        columns = dict.fromkeys(column for query in self.queries for column in query.keys.values())
        return {column: f"key{number}" for number, column in enumerate(columns)}

    def _spine(self, con: duckdb.DuckDBPyConnection) -> pa.Table:
        return self.entities.spine(con, self._keys)

    def _stored(self, con: duckdb.DuckDBPyConnection, query: ViewQuery, rows: int) -> pa.Table:
        """Return the features of a view that is stored, one row per row of the spine."""
        matched = con.sql(point_in_time.join_sql(self._view(con, query), "spine")).to_arrow_table()
        values = matched.drop_columns(POSITION).rename_columns(list(query.names))
        return _placed(values, matched[POSITION].to_numpy(), rows)

    def _live(self, query: ViewQuery, spine: pa.Table) -> pa.Table:
        """Return the features of a view that is computed from the facts, one row per row of the spine."""
        compute = live_function(self.settings.live)
        moments = spine[MOMENT]
        if last := self.settings.known_by:
            latest = pa.scalar(last, moments.type)
            moments = pc.if_else(pc.greater(moments, latest), latest, moments)
        ((key, column),) = query.keys.items()
        moments_by_key = pa.table(
            {key: spine[self._keys[column]].cast("string"), "event_time": moments, POSITION: spine[POSITION]}
        )
        view, group = query.view.name, query.view.tags[GROUP_TAG]
        found = compute(self.settings.live_settings, view, group, moments_by_key.drop_null())
        values = found.select(query.features).rename_columns(list(query.names))
        return _placed(values, found[POSITION].to_numpy(), spine.num_rows)

    def _view(self, con: duckdb.DuckDBPyConnection, query: ViewQuery, *, own: bool = False) -> View:
        """Return a view as the join sees it, in the words of its source; keys in those of the spine, or their own."""
        source, settings = batch_source_of(query.view), self.settings
        theirs = {new: old for old, new in source.field_mapping.items()}
        time, created = (theirs.get(c, c) for c in (source.timestamp_field, source.created_timestamp_column))
        keys = {theirs.get(key, key): column if own else self._keys[column] for key, column in query.keys.items()}
        features = tuple(theirs.get(feature, feature) for feature in query.features)
        known = None
        if self.as_known and created:
            nightly = GROUP_TAG in query.view.tags and settings.publications is not None
            times = publication_times(Path(settings.publications or ""), query.view.name) if nightly else None
            known = point_in_time.known_sql(created, times, settings.publish_lag)
        needed = [*keys, *features, time, *([created] if created else [])]
        rows = files.rows_of(con, source, needed, self.config.repo_path)
        return View(rows, keys, time, created or None, features, query.view.ttl, known, settings.known_by)


def _placed(values: pa.Table, positions: Any, rows: int) -> pa.Table:
    """Return values in the order of the spine, null where none was found."""
    place = np.full(rows, -1)
    place[positions] = np.arange(len(positions))
    if np.count_nonzero(place >= 0) != len(positions):
        raise Terminal(f"{len(positions)} rows were found for {np.count_nonzero(place >= 0)} rows of the entity frame.")
    return values.combine_chunks().take(pa.array(place, mask=place < 0))

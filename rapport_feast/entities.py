"""The entity rows that a historical question is about."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from feast.errors import EntityTimestampInferenceException, FeastEntityDFMissingColumnsError

from rapport_feast.point_in_time import MOMENT, POSITION

EVENT_TIMESTAMP = "event_timestamp"


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


def time_column(schema: pa.Schema) -> str:
    """Return which column of an entity frame is its time, by Feast's rule."""
    if EVENT_TIMESTAMP in schema.names:
        return EVENT_TIMESTAMP
    times = [column.name for column in schema if pa.types.is_timestamp(column.type)]
    if len(times) != 1:
        raise EntityTimestampInferenceException(EVENT_TIMESTAMP)
    return str(times[0])

"""Rows of a view's source on their way online: its columns by name, encoded for the writer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from feast import FeatureView, RepoConfig, utils
from feast.entity import Entity
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.value_type import ValueType

from rapport_feast.errors import Rejected
from rapport_feast.row import binary_columns
from rapport_feast.row.encoding import EncodedRows
from rapport_feast.row.keys import feature_field, row_field, time_field
from rapport_feast.row.layout import FOREVER_US, Packing

STAMP = pa.timestamp("us", "UTC")
KEY_TYPES = {ValueType.STRING: pa.string(), ValueType.INT64: pa.int64()}


@dataclass(frozen=True)
class Source:
    """What one view reads: Feast's names of the columns, and the view's own after the field mapping."""

    keys: dict[str, ValueType]
    columns: tuple[list[str], list[str], str, str | None]
    mapping: dict[str, str]
    time: str
    created: str | None


def encode_source_rows(
    config: RepoConfig, view: FeatureView, packing: Packing, source: Source, table: pa.Table, *, replace: bool
) -> EncodedRows:
    """Return rows of a table as the writer takes them.

    Raises
    ------
    Rejected
        A row without a key or a time.
    """
    name = compute_versioned_name(view, config.registry.enable_online_feature_view_versioning)
    keys = {key: binary_columns.column(table, key, KEY_TYPES[kind]) for key, kind in source.keys.items()}
    event = _micros(table, source.time)
    known = _micros(table, source.created, event) if source.created else event
    if any(key.null_count for key in keys.values()):
        raise Rejected(f"view {view.name}", "a join key in every row", "rows without one")
    columns = [
        binary_columns.column(table, feature, binary_columns.ARROW[dtype])
        for feature, dtype in zip(packing.names, packing.dtypes, strict=True)
    ]
    return EncodedRows(
        binary_columns.entity_keys(config.project, keys),
        (row_field(name), binary_columns.packed(packing, columns, event, known, np.full(len(event), FOREVER_US))),
        (time_field(name), binary_columns.stamps(event)),
        [feature_field(name, feature) for feature in packing.names],
        [binary_columns.protobuf(column) for column in columns],
        replace=replace or source.created is None,
    )


def source_of(view: FeatureView, entities: list[Entity]) -> Source:
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
    numbers = binary_columns.whole(times.cast(STAMP, safe=False)).cast(pa.int64())
    if not numbers.null_count:
        return np.asarray(numbers)
    if absent is None:
        raise Rejected(f"column {name}", "a time in every row", "rows without one")
    return np.where(np.asarray(numbers.is_null()), absent, np.asarray(numbers.fill_null(0)))

"""Feast's values as encoded rows, packed where every feature of the view can be."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from feast import FeatureView, RepoConfig, utils
from feast.infra.online_stores.helpers import _redis_key, compute_versioned_name
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64, Int64, String

from rapport_feast.row import binary_columns
from rapport_feast.row.encoding import EncodedRows
from rapport_feast.row.keys import feature_field, row_field, time_field
from rapport_feast.row.layout import FOREVER_US, Packing
from rapport_feast.tags import GROUP_TAG, PACKED_TAG
from rapport_feast.times import EPOCH, MICROSECOND

DTYPES = {Int64: "int64", Float64: "float64", String: "string"}
NO_VERSION = "00000000"
VERSION = re.compile(r"[0-9a-f]{8}")
FeastWrite = tuple[EntityKey, dict[str, Value], datetime, datetime | None]


def packing_of(view: FeatureView) -> Packing | None:
    """Return how the rows of a view are packed; not at all if a feature is of another type.

    Feast does not keep the order in which features were declared, so it is the one that a tag says for a view of
    Rapport, and by name for any other. A view of Rapport without the tag is not packed.
    """
    tags, dtypes = view.tags or {}, {field.name: DTYPES.get(field.dtype) for field in view.features}
    version, names = tags.get("version", NO_VERSION), sorted(dtypes)
    if GROUP_TAG in tags:
        names = tags.get(PACKED_TAG, "").split(",")
    if sorted(names) != sorted(dtypes) or None in dtypes.values():
        return None
    return Packing({name: str(dtypes[name]) for name in names}, version if VERSION.fullmatch(version) else NO_VERSION)


def feast_micros(moment: datetime) -> int:
    """Return a moment in microseconds since the epoch; one without a zone is UTC."""
    return int((utils.make_tzaware(moment) - EPOCH) // MICROSECOND)


def encode_feast_rows(config: RepoConfig, table: FeatureView, data: Sequence[FeastWrite]) -> EncodedRows:
    """Return rows of Feast's values as the writer takes them; a feature that a row lacks has no value in it."""
    name = compute_versioned_name(table, config.registry.enable_online_feature_view_versioning)
    version, packing, absent = config.entity_key_serialization_version, packing_of(table), Value()
    names = packing.names if packing else tuple(field.name for field in table.features)
    event = np.array([feast_micros(at) for *_, at, _ in data], np.int64)
    known = np.array([feast_micros(made or at) for *_, at, made in data], np.int64)
    columns = [[row.get(feature, absent) for _, row, *_ in data] for feature in names]
    return EncodedRows(
        binary_columns.binary([_redis_key(config.project, key, version) for key, *_ in data]),
        (row_field(name), _marks(packing, columns, event, known)),
        (time_field(name), binary_columns.stamps(event)),
        [feature_field(name, feature) for feature in names],
        [binary_columns.binary([value.SerializeToString() for value in column]) for column in columns],
        replace=any(made is None for *_, made in data),
    )


def _marks(packing: Packing | None, columns: list[list[Value]], event: Any, known: Any) -> list[pa.Array]:
    if packing is None:
        return [binary_columns.marks(event, known)]
    plain = [
        pa.array([_plain(value) for value in column], kind)
        for column, kind in zip(columns, _kinds(packing), strict=True)
    ]
    return binary_columns.packed(packing, plain, event, known, np.full(len(event), FOREVER_US))


def _kinds(packing: Packing) -> list[pa.DataType]:
    return [binary_columns.ARROW[dtype] for dtype in packing.dtypes]


def _plain(value: Value) -> Any:
    held = value.WhichOneof("val")
    return None if held in (None, "null_val") else getattr(value, held)

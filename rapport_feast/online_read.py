"""Reading rows for Feast: the commands, what they found, and statuses that say what is true."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from feast import FeatureView, RepoConfig, utils
from feast.infra.online_stores.helpers import _redis_key, compute_versioned_name
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from rapport_feast.row.keys import feature_field, row_field, time_field
from rapport_feast.row.layout import FOREVER_US, VALID_UNTIL
from rapport_feast.tags import SERVED_TAG
from rapport_feast.times import EPOCH, MICROSECOND
from rapport_feast.value_form import decode_time

FeastRow = tuple[datetime | None, dict[str, Value] | None]


@dataclass(frozen=True)
class EntityRow:
    """What is online of one entity in one view; values of a row that is out of date are not given."""

    at: datetime | None = None
    values: dict[str, Value] | None = None
    expired: bool = False

    def status(self, feature: str) -> int:
        """Return the status of a feature."""
        if self.expired:
            return int(FieldStatus.OUTSIDE_MAX_AGE)
        if self.values is None or feature not in self.values:
            return int(FieldStatus.NOT_FOUND)
        held = self.values[feature].WhichOneof("val")
        return int(FieldStatus.NULL_VALUE if held in (None, "null_val") else FieldStatus.PRESENT)


@dataclass(frozen=True)
class ViewRead:
    """What is asked of one view."""

    view: FeatureView
    name: str
    features: list[str]
    live: bool

    @classmethod
    def of(cls, config: RepoConfig, view: FeatureView, features: Sequence[str] | None) -> "ViewRead":
        """Return the question for some features of a view, or all."""
        name = compute_versioned_name(view, config.registry.enable_online_feature_view_versioning)
        names = list(features or (field.name for field in view.features))
        return cls(view, name, names, (view.tags or {}).get(SERVED_TAG) == "live")

    @property
    def fields(self) -> list[bytes]:
        """The hash fields to read."""
        times = [time_field(self.name), *([row_field(self.name)] if self.live else [])]
        return [*times, *(feature_field(self.name, feature) for feature in self.features)]

    def row_of(self, held: Sequence[bytes | None]) -> EntityRow:
        """Return what the fields hold."""
        stamp, *rest = held
        if stamp is None:
            return EntityRow()
        at, now = decode_time(stamp), datetime.now(UTC)
        if self.view.ttl and now - at > self.view.ttl:
            return EntityRow(at, expired=True)
        if self.live:
            row, *rest = rest
            until = int.from_bytes((row or b"")[VALID_UNTIL], "little") if row else FOREVER_US
            if until <= (now - EPOCH) // MICROSECOND:
                return EntityRow(at, expired=True)
        values = zip(self.features, rest, strict=True)
        return EntityRow(at, {name: Value.FromString(raw) for name, raw in values if raw is not None})


@dataclass(frozen=True)
class RequestedEntities:
    """The entities that are asked about, each once, and which rows of the answer are theirs."""

    keys: list[EntityKey]
    rows: Sequence[list[int]]
    length: int


def feast_row(found: EntityRow) -> FeastRow:
    return (None, None) if found.values is None else (found.at, found.values)


def requested_entities(table: FeatureView, join_key_values: Any, names: Any) -> RequestedEntities:
    values, rows, length = utils._get_unique_entities(table, join_key_values, names)
    return RequestedEntities(utils._get_entity_key_protos(values), tuple(rows), length)


def fill_response(
    response: Any, read: ViewRead, entities: RequestedEntities, found: list[EntityRow], full: bool, versions: bool
) -> None:
    """Put what was found into Feast's answer, with statuses that Feast alone would not tell."""
    given = [
        (one.at, {feature: (one.values or {}).get(feature, Value()) for feature in read.features}) for one in found
    ]
    utils._populate_response_from_feature_data(
        read.features, given, entities.rows, response, full, read.view, entities.length, versions
    )
    for feature, vector in zip(read.features, response.results[-len(read.features) :], strict=True):
        for one, rows in zip(found, entities.rows, strict=True):
            for row in rows:
                vector.statuses[row] = one.status(feature)


def read_commands(config: RepoConfig, reads: Sequence[tuple[ViewRead, list[EntityKey]]]) -> list[tuple[Any, ...]]:
    version = config.entity_key_serialization_version
    return [
        ("HMGET", _redis_key(config.project, key, version), *fields)
        for read, keys in reads
        for fields in (read.fields,)
        for key in keys
    ]


def rows_by_view(reads: Sequence[tuple[ViewRead, list[EntityKey]]], answers: Iterable[Any]) -> list[list[EntityRow]]:
    held = iter(answers)
    return [[read.row_of(next(held)) for _ in keys] for read, keys in reads]

"""Feast's objects, made from the catalogue: nothing about a feature is said a second time.

Between the catalogue, which declares, and the repository, which applies them from code.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.types import FeastType, Float64, Int64, String

from features.compute.tables import features_table
from features.declare.expression_types import DType
from features.declare.group import Group
from rapport_feast.errors import Rejected
from rapport_feast.tags import GROUP_TAG, PACKED_TAG, SERVED_TAG

TYPES: dict[DType, FeastType] = {"int64": Int64, "float64": Float64, "string": String}
# A row stays true until the next one: the night on which an entity's last fact leaves its longest window writes
# one more row (rule T7), so no value outlives itself and Feast has none to expire.
FOREVER = timedelta(0)


def entity_of(group: Group) -> Entity:
    """Return the entity of a group."""
    entity = group.entity
    return Entity(name=entity.name, join_keys=[entity.key], value_type=ValueType.STRING)


def view_of(group: Group, lake: Path) -> FeatureView:
    """Return the view of a group's nightly values over its table in the lake."""
    return _view(group, group.view, "nightly", lake)


def live_view_of(group: Group, lake: Path) -> FeatureView:
    """Return the view of a live group's values at any moment, which the offline store computes from the facts."""
    return _view(group, group.live_view, "live", lake)


def _view(group: Group, name: str, served: str, lake: Path) -> FeatureView:
    source = FileSource(
        name=name,
        path=str(lake / features_table(group)),
        file_format=DeltaFormat(),
        timestamp_field="event_time",
        created_timestamp_column="known_at",
    )
    features = [Field(name=f.name, dtype=TYPES[f.dtype], description=f.meaning) for f in group.outputs]
    return FeatureView(
        name=name,
        entities=[entity_of(group)],
        schema=[Field(name=group.entity.key, dtype=String), *features],
        source=source,
        ttl=FOREVER,
        description=group.description,
        owner=group.owner,
        tags={
            GROUP_TAG: group.name,
            SERVED_TAG: served,
            PACKED_TAG: ",".join(feature.name for feature in group.outputs),
            "version": group.version,
            "owner": group.owner,
            "purpose": group.purpose,
        },
    )


def service_of(name: str, refs: Sequence[str], views: Mapping[str, FeatureView]) -> FeatureService:
    """Return the feature service of a model from its references, ``view:feature``."""
    asked: dict[str, list[str]] = {}
    for view, feature in map(split_ref, refs):
        asked.setdefault(view, []).append(feature)
    if unknown := sorted(asked.keys() - views.keys()):
        raise Rejected(f"service {name}", f"features of the views {', '.join(sorted(views))}", unknown[0])
    return FeatureService(name=name, features=[views[view][features] for view, features in asked.items()])


def split_ref(ref: str) -> tuple[str, str]:
    """Return view and feature of a reference.

    Raises
    ------
    Rejected
        The reference is not ``view:feature``.
    """
    view, _, feature = ref.partition(":")
    if not view or not feature:
        raise Rejected("feature reference", "view:feature", repr(ref))
    return view, feature


def views_of(groups: Iterable[Group], lake: Path) -> dict[str, FeatureView]:
    """Return every view of some groups by its name."""
    groups = tuple(groups)
    nightly = [view_of(group, lake) for group in groups]
    live = [live_view_of(group, lake) for group in groups if group.served == "live"]
    return {view.name: view for view in (*nightly, *live)}


def repository(groups: Iterable[Group], services: Mapping[str, Sequence[str]], lake: Path) -> list[Any]:
    """Return everything that Feast is told: entities, views, and one service for each model."""
    groups = tuple(groups)
    entities = {group.entity.name: entity_of(group) for group in groups}
    views = views_of(groups, lake)
    return [*entities.values(), *views.values(), *(service_of(n, refs, views) for n, refs in services.items())]

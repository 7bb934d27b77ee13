"""What is asked of one feature view: its features and the names that they get."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from feast import FeatureView
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID

from rapport_feast.tags import GROUP_TAG, SERVED_TAG


@dataclass(frozen=True)
class ViewQuery:
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


def query_of_view(view: FeatureView, refs: Sequence[str], full: bool) -> ViewQuery:
    prefix = f"{view.projection.name_to_use()}:"
    features = tuple(ref.removeprefix(prefix) for ref in refs if ref.startswith(prefix))
    shown = view.projection.name_alias or view.name
    return ViewQuery(view, features, tuple(f"{shown}__{feature}" for feature in features) if full else features)


def batch_source_of(view: FeatureView) -> DataSource:
    if view.batch_source is None:
        raise ValueError(f"Feature view '{view.name}' has no batch_source and cannot be queried.")
    return view.batch_source

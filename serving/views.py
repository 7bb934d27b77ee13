"""What is known of the published views, from the data-only ``views.json`` that publishing writes beside the registry.

So serving needs neither Feast nor the catalogue; the lookup and the requests resolve their names here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from infra.errors import Rejected

VIEWS_FILE = "views.json"


class Unknown(Rejected):
    """A name that stands for nothing here: a feature, a view, a model."""


@dataclass(frozen=True)
class View:
    """A published version of a feature group: its entity, the entity's key and the type of each feature."""

    name: str
    group: str
    entity: str
    key: str
    features: Mapping[str, str]


class Reference(NamedTuple):
    """One feature of one view."""

    view: str
    feature: str

    def __str__(self) -> str:
        return f"{self.view}:{self.feature}"


@dataclass(frozen=True)
class Views:
    """The published views of a project by name."""

    project: str
    by_name: Mapping[str, View] = field(default_factory=dict)

    def view(self, name: str) -> View:
        """Return a view by its name, or the current version of a group: the one listed last.

        Raises
        ------
        Unknown
            Neither a view nor a group has this name.
        """
        if name in self.by_name:
            return self.by_name[name]
        versions = [view for view in self.by_name.values() if view.group == name]
        if not versions:
            raise Unknown("feature view", "a published view or group", ascii(name[:100]))
        return versions[-1]

    def resolve(self, reference: str) -> Reference:
        """Read ``<view or group>:<feature>``.

        Raises
        ------
        Rejected
            The reference has another form.
        Unknown
            There is no such view or no such feature in it.
        """
        name, colon, feature = reference.partition(":")
        if not (name and colon and feature):
            raise Rejected("features", "references as <view>:<feature>", ascii(reference[:100]))
        view = self.view(name)
        if feature not in view.features:
            raise Unknown("features", f"a feature of {view.name}", ascii(feature[:100]))
        return Reference(view.name, feature)

    def of_entity(self, entity: str) -> list[View]:
        """Return the views of an entity, in the order of the file."""
        return [view for view in self.by_name.values() if view.entity == entity]

    def key_of(self, entity: str) -> str:
        """Return the join key of an entity; one that no view has is named as every entity's key is."""
        return next((view.key for view in self.of_entity(entity)), f"{entity}_id")


def load_views(folder: Path) -> Views:
    """Read the published views from Feast's folder.

    Raises
    ------
    Rejected
        Nothing was published yet, or the file is not in the form that publishing writes.
    """
    try:
        content = json.loads((folder / VIEWS_FILE).read_text(encoding="utf-8"))
        views = {name: _view(name, entry) for name, entry in content["views"].items()}
        return Views(str(content["project"]), views)
    except FileNotFoundError:
        raise Rejected("published views", f"the file {VIEWS_FILE}", "none", "Run the nightly ring first.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Rejected("published views", f"{VIEWS_FILE} as publishing writes it", repr(error)) from None


def _view(name: str, entry: Mapping[str, Any]) -> View:
    features = {str(feature): str(dtype) for feature, dtype in entry["features"].items()}
    return View(name, str(entry["group"]), str(entry["entity"]), str(entry["key"]), features)

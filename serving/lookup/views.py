"""The published views of feature groups, against which references are resolved."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from typing import Literal, NamedTuple

from features.catalogue import standard
from features.declare.catalogue import Catalogue
from infra.clock import cutoff
from rapport_feast.errors import Rejected
from rapport_feast.row.layout import Packable, Packing
from serving.errors import UnknownFeature, UnknownView


@dataclass(frozen=True)
class View:
    """A published version of a feature group, nightly or live.

    Attributes
    ----------
    features
        Feature = type, in the order of the packed row.
    freshness_seconds
        How old a value may be; 0 is without limit.
    nightly
        The view that a live one falls back on.
    prior
        The view that holds what is usual for a segment.
    defaults
        Declared defaults, of those features that have one.
    elapsed
        Features whose rows hold the moment of a fact; the time since then is finished when they are read.
    derived
        Features made of those.
    """

    name: str
    group: str
    entity: str
    key: str
    features: Mapping[str, str]
    version: str
    freshness_seconds: int
    served: Literal["nightly", "live"]
    prior: str
    nightly: str | None = None
    defaults: Mapping[str, Packable] = field(default_factory=dict)
    elapsed: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()

    @cached_property
    def packing(self) -> Packing:
        """How its rows are packed."""
        return Packing(self.features, self.version)


class Reference(NamedTuple):
    """One feature of one view."""

    view: str
    feature: str

    def __str__(self) -> str:
        return f"{self.view}:{self.feature}"


@dataclass(frozen=True)
class Views:
    """The published views of a project by name.

    Attributes
    ----------
    night
        The newest night when the file was written.
    segment
        Where a customer's segment stands, if the company has segments.
    catalogue
        What the company declares by now.
    """

    project: str
    night: date
    by_name: Mapping[str, View] = field(default_factory=dict)
    segment: Reference | None = None
    catalogue: Catalogue = field(default_factory=standard)

    def view(self, name: str) -> View:
        """Return a view by its name, or the current version of a group: the one listed last, live if it is live.

        Raises
        ------
        UnknownView
            Neither a view nor a group has this name.
        """
        if name in self.by_name:
            return self.by_name[name]
        versions = [view for view in self.by_name.values() if view.group == name and view.served == "nightly"]
        if not versions:
            raise UnknownView("feature view", "a published view or group", ascii(name[:100]))
        return self.live_of(versions[-1]) or versions[-1]

    def live_of(self, view: View) -> View | None:
        """Return the live view of a nightly one."""
        return next((live for live in self.by_name.values() if live.nightly == view.name), None)

    def resolve(self, reference: str) -> Reference:
        """Read ``<view or group>:<feature>``.

        Raises
        ------
        Rejected
            The reference has another form.
        UnknownView, UnknownFeature
            There is no such view, or no such feature in it.
        """
        name, colon, feature = reference.partition(":")
        if not (name and colon and feature):
            raise Rejected("features", "references as <view>:<feature>", ascii(reference[:100]))
        view = self.view(name)
        if feature not in view.features:
            raise UnknownFeature("features", f"a feature of {view.name}", ascii(feature[:100]))
        return Reference(view.name, feature)

    def of_entity(self, entity: str) -> list[View]:
        """Return the views of an entity, in the order of the file."""
        return [view for view in self.by_name.values() if view.entity == entity]

    def key_of(self, entity: str) -> str:
        """Return the join key of an entity; one that no view has is named as every entity's key is."""
        return next((view.key for view in self.of_entity(entity)), f"{entity}_id")

    @cached_property
    def keys(self) -> frozenset[str]:
        """The join keys of all views."""
        return frozenset(view.key for view in self.by_name.values())

    @cached_property
    def cutoff(self) -> datetime:
        """The cutoff of the newest night when the file was written."""
        return cutoff(self.night)

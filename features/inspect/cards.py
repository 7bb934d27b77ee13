"""What is known of each group and feature, for its author: what it was declared as, what it costs, who uses it.

Made of the catalogue, ``versions.py`` and the company file; ``rapport feature list`` and ``show`` print it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from features.catalogue import catalogue_of
from features.compute.identity import LINKS
from features.declare.catalogue import Catalogue
from features.declare.definition import as_text
from features.declare.feature import Derived, Feature
from features.declare.group import Group
from features.declare.request import Request
from features.declare.version import as_data
from features.inspect.explain import did_you_mean
from features.inspect.versions import GroupVersion, ModelUse, group_versions, model_uses
from infra.workspace import Workspace
from rapport_feast.errors import Rejected

REQUEST = "request"


@dataclass(frozen=True)
class Selection:
    """What a name stands for: a group or request, and the features of it that are meant."""

    declared: Group | Request
    features: tuple[Feature, ...]
    whole: bool

    @property
    def group(self) -> Group:
        """The group.

        Raises
        ------
        Rejected
            It is a request, which has no facts behind it.
        """
        if isinstance(self.declared, Request):
            what = "a group or a feature of one"
            raise Rejected("feature", what, f"the request {self.declared.name}", "Its values are those of its inputs.")
        return self.declared


def find(catalogue: Catalogue, name: str) -> Selection:
    """Return what a name of the catalogue stands for: a group, a view, a feature or ``view:feature``.

    Raises
    ------
    Rejected
        Nothing has this name.

    Examples
    --------
    >>> from features.catalogue import standard
    >>> find(standard(), "customer_orders:customer__orders__30d").declared.name
    'customer_orders'
    """
    first, _, feature = name.partition(":")
    known: list[str] = []
    for declared in catalogue.declared:
        features = {one.name: one for one in declared.outputs}
        names = {declared.name, declared.view, f"{declared.view}__live"}
        known += [declared.name, declared.view, *features]
        if first in names and not feature:
            return Selection(declared, declared.outputs, whole=True)
        wanted = feature or first
        if wanted in features and (not feature or first in names):
            return Selection(declared, (features[wanted],), whole=False)
    hint = " ".join(filter(None, (did_you_mean(feature or name, known), "rapport feature list shows all.")))
    raise Rejected("feature", "a group or feature of the catalogue", repr(name), hint)


def overview(ws: Workspace) -> list[dict[str, Any]]:
    """Return every group and request of the catalogue, with how far it is built."""
    versions, delivered = group_versions(ws), {source.fact for source in ws.company.sources}
    found = []
    for one in catalogue_of(ws.company).declared:
        built = versions.get(one.view)
        entry: dict[str, Any] = {
            "group": one.name,
            "about": REQUEST if isinstance(one, Request) else one.entity.name,
            "fact": one.fact,
            "served": "on request" if isinstance(one, Request) else one.served,
            "features": len(one.outputs),
            "version": one.version,
            "owner": one.owner,
            "state": _state(one, built, delivered=one.fact in delivered),
            "built_to": str(built.nights.last) if built else None,
            "older": [version.view for version in _older(one, versions.values())],
        }
        found.append(entry)
    return found


def card(ws: Workspace, name: str) -> dict[str, Any]:
    """Return everything that is known of a group or a feature.

    Raises
    ------
    Rejected
        Nothing in the catalogue has this name.
    """
    selection = find(catalogue_of(ws.company), name)
    one, built, users_by_view = selection.declared, group_versions(ws), model_uses(ws)
    versions = [*([built[one.view]] if one.view in built else []), *_older(one, built.values())]
    features = {feature.name for feature in selection.features}
    users = [use for use in users_by_view.get(one.view, ()) if features & set(use.features)]
    return {
        "name": name,
        "group": one.name,
        "view": one.view,
        "meaning": one.description,
        "owner": one.owner,
        "purpose": one.purpose,
        "pii": one.pii,
        **_timing(one),
        "features": [_feature(one, feature) for feature in selection.features],
        "lineage": _sources(ws, one),
        "versions": [_version(version, one.view, users_by_view) for version in versions],
        "used_by": [
            {
                "model": use.model,
                "version": use.version,
                "state": use.state,
                "features": sorted(features & set(use.features)),
            }
            for use in users
        ],
    }


def _timing(one: Group | Request) -> dict[str, Any]:
    if isinstance(one, Request):
        return {"about": REQUEST, "served": "on request", "inputs": list(one.inputs)}
    hours = one.freshness.total_seconds() / 3600
    lag = {"live_lag": one.live_lag} if one.served == "live" else {}
    return {"about": one.entity.name, "served": one.served, "hop": one.hop, "stale_after_hours": hours, **lag}


def _feature(one: Group | Request, feature: Feature) -> dict[str, Any]:
    computed, empty = _computed(one, feature.name)
    expect = feature.expect
    return {
        "name": feature.name,
        "type": feature.dtype,
        "meaning": feature.meaning,
        "computed": computed,
        "empty": empty,
        "default": feature.default,
        "expect": {"least": expect.least, "most": expect.most, "filled": expect.filled},
    }


def _computed(one: Group | Request, name: str) -> tuple[str, Any]:
    if isinstance(one, Group) and name in one.measured:
        measure, window = one.measured[name]
        parts = [
            measure.kind,
            f"of {as_text(as_data(measure.of))}" if measure.of is not None else "",
            f"where {as_text(as_data(measure.where))}" if measure.where is not None else "",
            f"half-life {measure.half_life}" if measure.half_life else "",
            f"over {window}",
        ]
        return " ".join(filter(None, parts)), measure.empty_value
    derived: Sequence[Derived] = one.derived
    found = next(derived for derived in derived if derived.name == name)
    return as_text(as_data(found.value)), found.empty


def _sources(ws: Workspace, one: Group | Request) -> dict[str, Any]:
    """Return the fact that a group reads, which of its rows, and the sources that deliver it."""
    facts = [one.fact, *([LINKS] if isinstance(one, Group) and one.entity.linked else [])]
    return {
        "fact": one.fact,
        "where": as_text(as_data(one.where)),
        "sources": [
            {"name": source.name, "fact": source.fact, "adapter": source.adapter, "path": source.path}
            for source in ws.company.sources
            if source.fact in facts
        ],
    }


def _version(version: GroupVersion, current: str, users_by_view: Mapping[str, Sequence[ModelUse]]) -> dict[str, Any]:
    pins = [str(use) for use in users_by_view.get(version.view, ()) if use.pins]
    return {
        "view": version.view,
        "current": version.view == current,
        "nights": [str(version.nights.first), str(version.nights.last)],
        "bytes": version.size,
        "builds": len(version.commits),
        "seconds": version.seconds,
        "pinned_by": pins,
    }


def _older(one: Group | Request, built: Iterable[GroupVersion]) -> list[GroupVersion]:
    return [version for version in built if version.name == one.name and version.view != one.view]


def _state(one: Group | Request, built: GroupVersion | None, *, delivered: bool) -> str:
    if isinstance(one, Request):
        return "computed on request"
    if built:
        return f"built to {built.nights.last}"
    return "not built" if delivered else "no source delivers its fact"

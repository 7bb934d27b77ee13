"""``views.json``, from which serving knows what is online without importing Feast."""

from datetime import timedelta
from typing import Any

from features.catalogue import groups_of
from features.compute.priors import prior_view, segment_of
from features.declare.group import Group
from features.declare.terms import columns_in
from infra.workspace import Workspace
from rapport_feast.atomic import write_json
from rapport_feast.publications import Record

VIEWS = "views.json"


# Measures that are seconds up to the moment of the question.
ELAPSED = frozenset({"since", "age"})


def write_views(ws: Workspace, record: Record) -> None:
    """Write ``views.json``, from which serving knows what is online without importing Feast."""
    groups = groups_of(ws.company)
    views: dict[str, dict[str, Any]] = {}
    for group in groups:
        views[group.view] = describe_view(group)
        if group.served == "live":
            views[group.live_view] = describe_live_view(group)
    segment = segment_of(groups)
    told = {
        "project": ws.company.name,
        "views": views,
        "night": max(record.nights),
        "segment": f"{segment[0].view}:{segment[1]}" if segment else None,
    }
    write_json(ws.folder("feast") / VIEWS, told)


def describe_view(group: Group) -> dict[str, Any]:
    """Return what serving is told of a group's nightly view."""
    empty = {name: measure.empty_value for name, (measure, _window) in group.measured.items()}
    empty |= {derived.name: derived.empty for derived in group.derived}
    return {
        "group": group.name,
        "entity": group.entity.name,
        "key": group.entity.key,
        "features": {feature.name: feature.dtype for feature in group.outputs},
        "version": group.version,
        "freshness_seconds": int((group.freshness or timedelta(0)).total_seconds()),
        "served": "nightly",
        "prior": prior_view(group),
        "defaults": {feature.name: feature.default for feature in group.outputs if feature.default is not None},
        "empty": {name: value for name, value in empty.items() if value is not None},
    }


def describe_live_view(group: Group) -> dict[str, Any]:
    """Return what serving is told of a group's live view: also which features are finished when they are read."""
    elapsed = [name for name, (measure, _window) in group.measured.items() if measure.kind in ELAPSED]
    moving, derived = set(elapsed), []
    for one in group.ordered:
        if not moving.isdisjoint(columns_in([one.value])):
            moving.add(one.name)
            derived.append(one.name)
    return describe_view(group) | {
        "served": "live",
        "nightly": group.view,
        "freshness_seconds": int(group.live_freshness.total_seconds()),
        "elapsed": elapsed,
        "derived": derived,
    }

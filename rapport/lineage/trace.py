"""The lineage of anything in the ring: what it came from and what it went into."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from infra.clock import Nights
from infra.workspace import Workspace
from rapport.lineage import downstream, upstream
from rapport.lineage.links import Links
from rapport.lineage.nodes import Node, distinct
from rapport.lineage.query import Query, resolve
from rapport_feast.errors import Rejected


@dataclass(frozen=True)
class Lineage:
    """What was asked, what it came from, and what it went into."""

    asked: Query
    up: Sequence[Node]
    down: Sequence[Node]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        asked = {"kind": self.asked.kind, "name": self.asked.name, "night": self.asked.night}
        asked |= {"entity": self.asked.entity, "at": self.asked.at}
        return {"asked": asked, "up": [n.as_json() for n in self.up], "down": [n.as_json() for n in self.down]}


def trace(
    ws: Workspace, name: str, night: date | None = None, entity: str | None = None, at: datetime | None = None
) -> Lineage:
    """Return the lineage of anything in the ring.

    Raises
    ------
    Rejected
        Nothing has this name, or it has no such night or row.
    """
    links = Links(ws)
    asked = resolve(links, name, night, entity, at)
    up, down = TRACERS[asked.kind](links, asked)
    return Lineage(asked, distinct(up), distinct(down))


Directions = tuple[Sequence[Node], Sequence[Node]]


def _of_view(links: Links, asked: Query) -> Directions:
    if asked.entity is None:
        return upstream.of_view(links, asked.name, asked.night), downstream.from_view(
            links, asked.name, asked.night, asked.features
        )
    group = links.group_of(asked.name)
    night = asked.night or (links.views[asked.name].nights.last if asked.name in links.views else None)
    if night is None:
        raise Rejected(f"view {asked.name}", "a night that was built, or --night", "none")
    features = asked.features or tuple(feature.name for feature in group.outputs)
    up = [links.view_node(asked.name, _only(night))]
    up += [*upstream.of_value(links, asked.name, features, asked.entity, night)]
    return up, downstream.from_view(links, asked.name, night, asked.features)


def _of_fact(links: Links, asked: Query) -> Directions:
    return upstream.of_fact(links, asked.name, asked.night, asked.night), downstream.from_fact(links, asked.name)


def _of_source(links: Links, asked: Query) -> Directions:
    source = links.sources[asked.name]
    files = [one for one in links.arrived(source.fact, asked.night, asked.night) if one.source == source]
    up = [links.source_node(source, files), *(one.node() for one in files)]
    return up, downstream.from_files(links, source, files)


def _of_file(links: Links, asked: Query) -> Directions:
    files = [one for one in links.files_named(asked.name) if asked.night in {None, one.night}]
    if not files:
        raise Rejected(f"file {asked.name}", "a night that let rows of it in", str(asked.night))
    up = [links.source_node(files[0].source, files), *(one.node() for one in files)]
    return up, downstream.from_files(links, files[0].source, files)


def _of_night(links: Links, asked: Query) -> Directions:
    night = asked.night
    facts = dict.fromkeys(source.fact for source in links.sources.values())
    up = [node for fact in facts for node in upstream.of_fact(links, fact, night, night)]
    built = [view for view, one in links.views.items() if night and one.nights.first <= night <= one.nights.last]
    hits = [downstream.AffectedView(view, _only(night)) for view in built if night]
    down = [links.view_node(view, _only(night)) for view in built if night]
    down += downstream.from_views(links, hits)
    for model, one, commit in links.sets:
        if one == night:
            down += [links.set_node(model, one, commit), *downstream.from_set(links, model, one)]
    return up, down


def _of_set(links: Links, asked: Query) -> Directions:
    night = asked.night
    if night is None:
        raise Rejected("training set", "a night", "none")
    if asked.entity:
        up = upstream.of_row(links, asked.name, night, asked.entity, asked.at)
    else:
        up = _with_facts(links, upstream.of_set(links, asked.name, night))
    return up, downstream.from_set(links, asked.name, night)


def _of_model(links: Links, asked: Query) -> Directions:
    name, _, version = asked.name.partition("/")
    known = [one for one in links.manifests if one.name == name and version in {"", one.version}]
    if not known:
        there = ", ".join(one.version for one in links.manifests if one.name == name)
        raise Rejected(f"model {name}", f"a version of {there}", version)
    return _with_facts(links, upstream.of_model(links, known[-1])), []


def _with_facts(links: Links, nodes: list[Node]) -> list[Node]:
    """Add the facts and sources behind the views of a training set, as far as its nights reach."""
    found = list(nodes)
    for node in nodes:
        if node.kind == "view" and node.nights:
            found += [
                one for one in upstream.of_view(links, node.name, node.nights.last) if one.kind in {"fact", "source"}
            ]
    return found


def _only(night: date) -> Nights:
    return Nights(night, night)


TRACERS: Mapping[str, Callable[[Links, Query], Directions]] = {
    "view": _of_view,
    "fact": _of_fact,
    "source": _of_source,
    "file": _of_file,
    "night": _of_night,
    "training set": _of_set,
    "model": _of_model,
}

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

    query: Query
    upstream: Sequence[Node]
    downstream: Sequence[Node]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        query = {"kind": self.query.kind, "name": self.query.name, "night": self.query.night}
        query |= {"entity": self.query.entity, "at": self.query.at}
        return {
            "query": query,
            "upstream": [node.as_json() for node in self.upstream],
            "downstream": [node.as_json() for node in self.downstream],
        }


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
    query = resolve(links, name, night, entity, at)
    up, down = TRACERS[query.kind](links, query)
    return Lineage(query, distinct(up), distinct(down))


Directions = tuple[Sequence[Node], Sequence[Node]]


def _of_view(links: Links, query: Query) -> Directions:
    if query.entity is None:
        down = downstream.from_view(links, query.name, query.night, query.features)
        return upstream.of_view(links, query.name, query.night), down
    group = links.group_of(query.name)
    night = query.night or (links.views[query.name].nights.last if query.name in links.views else None)
    if night is None:
        raise Rejected(f"view {query.name}", "a night that was built, or --night", "none")
    features = query.features or tuple(feature.name for feature in group.outputs)
    up = [links.view_node(query.name, _only(night))]
    up += [*upstream.of_value(links, query.name, features, query.entity, night)]
    return up, downstream.from_view(links, query.name, night, query.features)


def _of_fact(links: Links, query: Query) -> Directions:
    return upstream.of_fact(links, query.name, query.night, query.night), downstream.from_fact(links, query.name)


def _of_source(links: Links, query: Query) -> Directions:
    source = links.sources[query.name]
    files = [one for one in links.arrived(source.fact, query.night, query.night) if one.source == source]
    up = [links.source_node(source, files), *(one.node() for one in files)]
    return up, downstream.from_files(links, source, files)


def _of_file(links: Links, query: Query) -> Directions:
    files = [one for one in links.files_named(query.name) if query.night in {None, one.night}]
    if not files:
        raise Rejected(f"file {query.name}", "a night that let rows of it in", str(query.night))
    up = [links.source_node(files[0].source, files), *(one.node() for one in files)]
    return up, downstream.from_files(links, files[0].source, files)


def _of_night(links: Links, query: Query) -> Directions:
    night = query.night
    facts = dict.fromkeys(source.fact for source in links.sources.values())
    up = [node for fact in facts for node in upstream.of_fact(links, fact, night, night)]
    built = [view for view, one in links.views.items() if night and one.nights.first <= night <= one.nights.last]
    affected = [downstream.AffectedView(view, _only(night)) for view in built if night]
    down = [links.view_node(view, _only(night)) for view in built if night]
    down += downstream.from_views(links, affected)
    for model, one, commit in links.sets:
        if one == night:
            down += [links.set_node(model, one, commit), *downstream.from_set(links, model, one)]
    return up, down


def _of_set(links: Links, query: Query) -> Directions:
    night = query.night
    if night is None:
        raise Rejected("training set", "a night", "none")
    if query.entity:
        up = upstream.of_row(links, query.name, night, query.entity, query.at)
    else:
        up = _with_facts(links, upstream.of_set(links, query.name, night))
    return up, downstream.from_set(links, query.name, night)


def _of_model(links: Links, query: Query) -> Directions:
    name, _, version = query.name.partition("/")
    known = [one for one in links.manifests if one.name == name and version in {"", one.version}]
    if not known:
        there = ", ".join(one.version for one in links.manifests if one.name == name)
        raise Rejected(f"model {name}", f"a version of {there}", version)
    return _with_facts(links, upstream.of_model(links, known[-1])), []


def _with_facts(links: Links, nodes: list[Node]) -> list[Node]:
    """Add the facts and up behind the views of a training set, as far as its nights reach."""
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

"""What a name in the ring stands for, and its lineage both ways: the answer that ``rapport lineage`` prints."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from features.cards import find
from features.explain import alike
from infra.clock import Nights
from infra.errors import Rejected
from infra.workspace import Workspace
from rapport import downward, upward
from rapport.lineage import KINDS
from rapport.trace import Node, Trace, once

LAYERS = {
    "bronze": "source",
    "silver": "fact",
    "tiles": "view",
    "features": "view",
    "training_sets": "training set",
    "models": "model",
}


@dataclass(frozen=True)
class Asked:
    """What somebody wants to know the lineage of.

    Attributes
    ----------
    features
        Of a view, those that are meant.
    entity, at
        One entity's values only; of a training set one row.
    """

    kind: str
    name: str
    night: date | None = None
    features: tuple[str, ...] = ()
    entity: str | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Found:
    """What was asked, what it came from, and what it went into."""

    asked: Asked
    up: Sequence[Node]
    down: Sequence[Node]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        asked = {"kind": self.asked.kind, "name": self.asked.name, "night": self.asked.night}
        asked |= {"entity": self.asked.entity, "at": self.asked.at}
        return {"asked": asked, "up": [n.as_json() for n in self.up], "down": [n.as_json() for n in self.down]}


def trace(
    ws: Workspace, name: str, night: date | None = None, entity: str | None = None, at: datetime | None = None
) -> Found:
    """Return the lineage of anything in the ring.

    Raises
    ------
    Rejected
        Nothing has this name, or it has no such night or row.
    """
    links = Trace(ws)
    asked = _asked(links, name, night, entity, at)
    up, down = WAYS[asked.kind](links, asked)
    return Found(asked, once(up), once(down))


Ways = tuple[Sequence[Node], Sequence[Node]]


def _asked(links: Trace, name: str, night: date | None, entity: str | None, at: datetime | None) -> Asked:
    """Return what a name stands for; where one name stands for several things, its folder says which."""
    ws = links.ws
    layer, _, below = name.partition("/")
    if layer in LAYERS and below:
        return _known(links, LAYERS[layer], below, night, entity, at)
    if _is_night(name):
        return Asked("night", name, date.fromisoformat(name))
    models = {model.name for model in ws.company.models} | {one.name for one in links.manifests}
    kinds = (
        ("source", links.sources),
        ("fact", {source.fact for source in links.sources.values()}),
        ("view", links.views),
        ("model", models),
    )
    for kind, known in kinds:
        if name in known or (kind == "model" and layer in known and below.isdigit()):
            return _known(links, kind, name, night, entity, at)
    if links.files_named(name):
        return Asked("file", name, night)
    try:
        found = find(name)
    except Rejected as error:
        raise Rejected("lineage", f"a {KINDS}", repr(name), error.remedy) from None
    features = tuple(feature.name for feature in found.features)
    return Asked("view", found.group.view, night, () if found.whole else features, entity)


def _known(links: Trace, kind: str, name: str, night: date | None, entity: str | None, at: datetime | None) -> Asked:
    """Return what a name of a kind stands for.

    Raises
    ------
    Rejected
        There is no such thing.
    """
    facts = {source.fact for source in links.sources.values()}
    models = {one.name for one in links.manifests}
    sets = {model for model, _, _ in links.sets}
    known: dict[str, set[str]] = {"fact": facts, "source": set(links.sources), "view": set(links.views)}
    known |= {"training set": sets, "model": models}
    first = name.partition("/")[0] if kind == "model" else name
    if first not in known[kind]:
        there = ", ".join(sorted(known[kind])) or "none yet"
        raise Rejected(kind, f"one of {there}", repr(name), alike(first, known[kind]))
    if kind == "training set":
        nights = [one for model, one, _ in links.sets if model == name]
        if night and night not in nights:
            raise Rejected(f"training set {name}", f"a night of {', '.join(map(str, nights))}", str(night))
        return Asked(kind, name, night or max(nights), entity=entity, at=at)
    return Asked(kind, name, night, entity=entity, at=at)


def _is_night(name: str) -> bool:
    try:
        date.fromisoformat(name)
    except ValueError:
        return False
    return True


def _of_view(links: Trace, asked: Asked) -> Ways:
    if asked.entity is None:
        return upward.of_view(links, asked.name, asked.night), downward.from_view(
            links, asked.name, asked.night, asked.features
        )
    group = links.group_of(asked.name)
    night = asked.night or (links.views[asked.name].nights.last if asked.name in links.views else None)
    if night is None:
        raise Rejected(f"view {asked.name}", "a night that was built, or --night", "none")
    features = asked.features or tuple(feature.name for feature in group.outputs)
    up = [links.view_node(asked.name, _only(night)), *upward.of_value(links, asked.name, features, asked.entity, night)]
    return up, downward.from_view(links, asked.name, night, asked.features)


def _of_fact(links: Trace, asked: Asked) -> Ways:
    return upward.of_fact(links, asked.name, asked.night, asked.night), downward.from_fact(links, asked.name)


def _of_source(links: Trace, asked: Asked) -> Ways:
    source = links.sources[asked.name]
    files = [one for one in links.arrived(source.fact, asked.night, asked.night) if one.source == source]
    up = [links.source_node(source, files), *(one.node() for one in files)]
    return up, downward.from_files(links, source, files)


def _of_file(links: Trace, asked: Asked) -> Ways:
    files = [one for one in links.files_named(asked.name) if asked.night in {None, one.night}]
    if not files:
        raise Rejected(f"file {asked.name}", "a night that let rows of it in", str(asked.night))
    up = [links.source_node(files[0].source, files), *(one.node() for one in files)]
    return up, downward.from_files(links, files[0].source, files)


def _of_night(links: Trace, asked: Asked) -> Ways:
    night = asked.night
    facts = dict.fromkeys(source.fact for source in links.sources.values())
    up = [node for fact in facts for node in upward.of_fact(links, fact, night, night)]
    built = [view for view, one in links.views.items() if night and one.nights.first <= night <= one.nights.last]
    hits = [downward.Hit(view, _only(night)) for view in built if night]
    down = [links.view_node(view, _only(night)) for view in built if night]
    down += downward.from_views(links, hits)
    for model, one, commit in links.sets:
        if one == night:
            down += [links.set_node(model, one, commit), *downward.from_set(links, model, one)]
    return up, down


def _of_set(links: Trace, asked: Asked) -> Ways:
    night = asked.night
    if night is None:
        raise Rejected("training set", "a night", "none")
    if asked.entity:
        up = upward.of_row(links, asked.name, night, asked.entity, asked.at)
    else:
        up = _with_facts(links, upward.of_set(links, asked.name, night))
    return up, downward.from_set(links, asked.name, night)


def _of_model(links: Trace, asked: Asked) -> Ways:
    name, _, version = asked.name.partition("/")
    known = [one for one in links.manifests if one.name == name and version in {"", one.version}]
    if not known:
        there = ", ".join(one.version for one in links.manifests if one.name == name)
        raise Rejected(f"model {name}", f"a version of {there}", version)
    return _with_facts(links, upward.of_model(links, known[-1])), []


def _with_facts(links: Trace, nodes: list[Node]) -> list[Node]:
    """Add the facts and sources behind the views of a training set, as far as its nights reach."""
    found = list(nodes)
    for node in nodes:
        if node.kind == "view" and node.nights:
            found += [
                one for one in upward.of_view(links, node.name, node.nights.last) if one.kind in {"fact", "source"}
            ]
    return found


def _only(night: date) -> Nights:
    return Nights(night, night)


WAYS: Mapping[str, Callable[[Trace, Asked], Ways]] = {
    "view": _of_view,
    "fact": _of_fact,
    "source": _of_source,
    "file": _of_file,
    "night": _of_night,
    "training set": _of_set,
    "model": _of_model,
}

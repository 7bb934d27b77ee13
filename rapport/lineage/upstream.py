"""Lineage upwards: what a view, a value, a training set, one row of it, or a model came from."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from features.compute.as_known import KNOWN_DAY
from features.compute.identity import LINKS
from features.declare.group import Group
from features.inspect.explain import ExplainQuery, Moment
from features.store.joined_nights import LIVE, joined_nights
from infra.clock import Nights, cutoff
from infra.engine.open import open_engine
from infra.lake.commit import Commit
from infra.models.manifest import Manifest
from rapport.lineage.links import Links
from rapport.lineage.nodes import SETS, Node
from rapport_feast.errors import Rejected
from rapport_feast.times import EPOCH_DAY


def of_view(links: Links, view: str, night: date | None) -> list[Node]:
    """Return the commits of a view, and the facts, sources and files that it was built from."""
    group = links.groups.get(view)
    first = night
    if night and group:
        first = max(EPOCH_DAY, night - group.longest)
    upward = [links.view_node(view, Nights(night, night) if night else None)]
    for fact in links.facts_of(view):
        # A link counts for ever, a fact as long as a window reaches; it may be known later than it happened.
        since = first if fact != LINKS else None
        upward += of_fact(links, fact, since, night)
    return upward


def of_fact(links: Links, fact: str, first: date | None, last: date | None) -> list[Node]:
    """Return a fact with its sources and files, of all nights or some."""
    files = list(links.arrived(fact, first, last))
    sources = [source for source in links.sources.values() if source.fact == fact]
    nodes = [links.fact_node(fact, files)]
    nodes += [links.source_node(source, [one for one in files if one.source == source]) for source in sources]
    return [*nodes, *(one.node() for one in files)]


def of_value(links: Links, view: str, features: Sequence[str], entity: str, night: date) -> list[Node]:
    """Return what the values of an entity in a night were computed from: the facts' own files.

    Raises
    ------
    Rejected
        The catalogue does not have this version any more, so nobody can say which facts it read.
    """
    group = links.group_of(view)
    return _behind(links, group, features, entity, Moment.of(group, cutoff(night), night=True))


def of_set(links: Links, model: str, night: date) -> list[Node]:
    """Return the training set of a model and a night, and the nights of features that its rows were given."""
    commit = links.set_commit(model, night)
    return [links.set_node(model, night, commit), *_nights_of(links, commit)]


def of_row(links: Links, model: str, night: date, entity: str, at: datetime | None) -> list[Node]:
    """Return what one row of a training set was given: of each view a night's row, and the facts behind it.

    Raises
    ------
    Rejected
        The training set has no such row.
    """
    commit = links.set_commit(model, night)
    refs, key = (commit.notes or {}).get("features", []), links.key_of(commit)
    row = _row(links, model, night, key, entity, at)
    spine = pa.table({key: [entity], "event_time": pa.array([row["event_time"]], pa.timestamp("us", "UTC"))})
    named = {"entity": entity, "event_time": row["event_time"], "label": row["label"]}
    nodes = [Node("row", f"{model}/{entity}", Nights(night, night), 1, commit.run, f"label {row['label']:g}", named)]
    for view in dict.fromkeys(ref.partition(":")[0] for ref in refs):
        features = [ref.partition(":")[2] for ref in refs if ref.startswith(f"{view}:")]
        nodes += _given(links, view, features, entity, spine, night, {name: row[name] for name in features})
    return nodes


def of_model(links: Links, manifest: Manifest) -> list[Node]:
    """Return a version of a model, and the training set that it learned from with what went into that."""
    night = date.fromisoformat(manifest.night)
    return [links.model_node(manifest), *of_set(links, manifest.name, night)]


def _nights_of(links: Links, commit: Commit) -> Iterator[Node]:
    """Yield the views of a training set with the nights that its rows were given."""
    for view, nights in (commit.notes or {}).get("nights", {}).items():
        days = sorted(map(date.fromisoformat, nights))
        node = links.view_node(view, Nights(days[0], days[-1]) if days else None)
        details = {**node.details, "rows_by_night": nights}
        yield Node("view", view, node.nights, sum(nights.values()), node.run, "rows given, by night", details)


def _row(links: Links, model: str, night: date, key: str, entity: str, at: datetime | None) -> dict[str, Any]:
    rows = links.ws.lake.read(f"{SETS}{model}", Nights(night, night)).to_pylist()
    mine = [row for row in rows if row[key] == entity and at in {None, row["event_time"]}]
    if not mine:
        times = sorted(str(row["event_time"]) for row in rows if row[key] == entity)
        found = f"{entity} at {', '.join(times)}" if times else f"none of {entity}"
        raise Rejected(f"{SETS}{model}, night {night}", f"a row of {entity}" + (f" at {at}" if at else ""), found)
    return max(mine, key=lambda row: row["event_time"])


def _given(
    links: Links,
    view: str,
    features: Sequence[str],
    entity: str,
    spine: pa.Table,
    night: date,
    values: Mapping[str, Any],
) -> list[Node]:
    """Return the row of a view that a row of a training set was given, with the files behind it."""
    if view.endswith(LIVE):
        group = links.group_of(view.removesuffix(LIVE))
        at = spine["event_time"][0].as_py()
        node = Node("view", view, None, 1, "", f"computed at {at}", {"values": values})
        return [node, *_behind(links, group, features, entity, Moment.of(group, at))]
    (taken_night,) = joined_nights(links.ws, view, spine.column_names[0], spine, night).to_pylist()
    if taken_night is None:
        return [Node("view", view, None, 0, "", "no row was published by then", {"values": values})]
    node = links.view_node(view, Nights(taken_night, taken_night))
    given = Node("view", view, node.nights, 1, node.run, node.summary, {**node.details, "values": values})
    behind = of_value(links, view, features, entity, taken_night) if view in links.groups else []
    return [given, *behind]


def _behind(links: Links, group: Group, features: Sequence[str], entity: str, moment: Moment) -> list[Node]:
    """Return the fact that a value was computed from, with the files that its events stand in."""
    with open_engine(links.ws, "duckdb") as engine:
        (answer,) = ExplainQuery(links.ws, engine, group, moment, tuple(features)).explanations([entity])
    by_file: dict[tuple[str, str, date], list[Mapping[str, Any]]] = {}
    for one in answer.facts:
        if one["features"]:
            by_file.setdefault((one["source"], one["file"], one[KNOWN_DAY]), []).append(one)
    counted = [one for facts in by_file.values() for one in facts]
    details = {"values": answer.values, "facts": counted}
    nights = [night for _, _, night in by_file]
    summary = f"what {group.entity.name} {entity} has of it"
    span = Nights(min(nights), max(nights)) if nights else None
    nodes = [Node("fact", f"silver/{group.fact}", span, len(counted), "", summary, details)]
    accounts = {(one.source.name, one.file, one.night): one for one in links.arrived(group.fact)}
    for (source, file, night), facts in sorted(by_file.items(), key=lambda item: (item[0][2], item[0])):
        node = accounts[source, file, night].node()
        events = [one["event_id"] for one in facts]
        nodes.append(
            Node("file", node.name, node.nights, len(facts), node.run, node.summary, {**node.details, "events": events})
        )
    return nodes

"""Lineage downwards: what source files, facts, views and training sets went into, down to the models."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from features.compute.group_facts import ENTITY
from features.compute.tables import FEATURES
from features.inspect.affected import AffectedEntities, affected_by
from features.store.joined_nights import LIVE, joined_nights
from infra.clock import Nights
from infra.company.source import Source
from infra.engine.open import open_engine
from infra.lake.commit import Commit
from rapport.lineage.links import Links
from rapport.lineage.nodes import SETS, FileArrival, Node


@dataclass(frozen=True)
class AffectedView:
    """What may have changed in a view.

    Attributes
    ----------
    touched
        Whose rows; everybody's where only the nights are known.
    features
        Those that are asked about; all where there are none.
    """

    view: str
    nights: Nights
    touched: AffectedEntities | None = None
    features: tuple[str, ...] = ()

    def read_by(self, refs: Iterable[str]) -> bool:
        """Return whether some references name a feature that is hit."""
        named = [ref.partition(":") for ref in refs]
        return any(
            view.removesuffix(LIVE) == self.view and (not self.features or feature in self.features)
            for view, _, feature in named
        )


def from_files(links: Links, source: Source, files: Sequence[FileArrival]) -> list[Node]:
    """Return the facts, views, training sets and models that hold what some files of a source said."""
    inside = [one for one in files if one.account["silver"]]
    nodes = [links.fact_node(source.fact, files)]
    if not inside:
        return nodes
    affected_views = _affected_views(links, source, inside)
    return [
        *nodes,
        *(_affected_node(links, affected) for affected in affected_views),
        *from_views(links, affected_views, source.fact, min(f.night for f in inside)),
    ]


def from_views(
    links: Links, affected_views: Sequence[AffectedView], fact: str = "", since: date | None = None
) -> list[Node]:
    """Return the training sets that took rows of views, or whose labels read a fact, and the models they made."""
    nodes: list[Node] = []
    for model, night, commit in links.sets:
        refs = (commit.notes or {}).get("features", [])
        counts = {
            affected.view: _rows_affected(links, model, night, commit, affected)
            for affected in affected_views
            if affected.read_by(refs)
        }
        rows = {view: count for view, count in counts.items() if count}
        labels = fact and since and since <= night and fact in links.label_facts(commit)
        if rows or labels:
            summary = [f"{count} rows of {view}" for view, count in sorted(rows.items())]
            summary += [f"its labels read {fact}"] if labels else []
            nodes.append(links.set_node(model, night, commit, max(rows.values(), default=None), "; ".join(summary)))
            nodes += from_set(links, model, night)
    return nodes


def from_set(links: Links, model: str, night: date) -> list[Node]:
    """Return the versions of a model that were trained on a set."""
    known = [one for one in links.manifests if one.name == model and one.night == str(night)]
    digest = links.digest_of(model, night) if known else ""
    return [links.model_node(one) for one in known if one.dataset_digest == digest]


def from_view(links: Links, view: str, night: date | None, features: tuple[str, ...] = ()) -> list[Node]:
    """Return what took rows of a view, or values of some of its features, of all its nights or of one."""
    if view not in links.views:
        return []
    nights = Nights(night, night) if night else links.views[view].nights
    return from_views(links, [AffectedView(view, nights, features=features)])


def from_fact(links: Links, fact: str) -> list[Node]:
    """Return everything that a fact goes into."""
    affected_views = [
        AffectedView(view, one.nights) for view, one in links.views.items() if fact in links.facts_of(view)
    ]
    since = links.ws.lake.oldest(f"silver/{fact}")
    return [
        *(_affected_node(links, affected) for affected in affected_views),
        *from_views(links, affected_views, fact, since),
    ]


def _affected_node(links: Links, affected: AffectedView) -> Node:
    """Return a view with how many of its rows what was asked about may have changed."""
    node = links.view_node(affected.view, affected.nights)
    if affected.touched is None:
        return node
    rows = _rows_of(links, affected)
    details = {**node.details, "entities": affected.touched.rows[ENTITY].to_pylist()}
    summary = f"{len(affected.touched.rows)} entities, over {rows:,} rows"
    return Node("view", affected.view, affected.nights, rows, node.run, summary, details)


def _affected_views(links: Links, source: Source, files: Sequence[FileArrival]) -> list[AffectedView]:
    """Return the views in which files may have changed anything, and whose values."""
    found, names = [], sorted({one.file for one in files})
    first = min(one.night for one in files)
    with open_engine(links.ws, "duckdb") as engine:
        for view, one in links.views.items():
            if source.fact not in links.facts_of(view) or one.nights.last < first:
                continue
            if view not in links.groups:
                found.append(AffectedView(view, Nights(max(first, one.nights.first), one.nights.last)))
                continue
            touched = affected_by(links.ws, engine, links.groups[view], source.name, names, one.nights.last)
            if span := touched.nights:
                nights = Nights(max(span[0], one.nights.first), min(span[1], one.nights.last))
                found.append(AffectedView(view, nights, touched))
    return found


def _rows_of(links: Links, affected: AffectedView) -> int:
    key = links.groups[affected.view].entity.key
    with links.ws.lake.connect() as connection:
        rows = links.ws.lake.view(connection, f"{FEATURES}{affected.view}", affected.nights)
        connection.register("touched", affected.touched.rows if affected.touched else None)
        query = f"""SELECT count(*) FROM "{rows}" r JOIN touched t
            ON r.{key} = t.{ENTITY} AND r.night BETWEEN t.first AND t.last"""
        found = connection.execute(query).fetchone()
    return int(found[0]) if found else 0


def _rows_affected(links: Links, model: str, night: date, commit: Commit, affected: AffectedView) -> int:
    """Return how many rows of a training set took a row of a view that may have changed."""
    noted = (commit.notes or {}).get("nights", {}).get(affected.view)
    if noted is not None and affected.touched is None:
        return sum(
            n for day, n in noted.items() if affected.nights.first <= date.fromisoformat(day) <= affected.nights.last
        )
    key = links.key_of(commit)
    rows = links.ws.lake.read(f"{SETS}{model}", Nights(night, night)).select([key, "event_time"])
    # A live value is of its own day, a nightly one of the night that was published by then.
    live = noted is None
    days = (
        pc.cast(rows["event_time"], pa.date32()) if live else joined_nights(links.ws, affected.view, key, rows, night)
    )
    asked = pa.table({ENTITY: rows[key].cast(pa.string()), "day": days})
    spans = affected.touched.rows if affected.touched else pa.table({ENTITY: pc.unique(asked[ENTITY])})
    with links.ws.lake.connect() as connection:
        connection.register("asked", asked)
        connection.register("spans", spans)
        inside = (
            "spans.first AND spans.last"
            if affected.touched
            else f"DATE '{affected.nights.first}' AND DATE '{affected.nights.last}'"
        )
        query = f"SELECT count(*) FROM asked JOIN spans USING ({ENTITY}) WHERE day BETWEEN {inside}"
        found = connection.execute(query).fetchone()
    return int(found[0]) if found else 0

"""What a changed catalogue would do: compared with the lake, Feast's registry, what is published and who pins what.

Nothing is written: the nightly step or ``backfill.py`` builds what is missing, and old versions stay beside the new.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from features.catalogue import catalogue_of, groups_of
from features.compute.backfill import missing_nights
from features.declare.definition import definition, differences
from features.declare.group import Group
from features.inspect.versions import GroupVersion, ModelUse, group_versions, model_uses
from features.store.published import path_of
from infra.clock import Nights
from infra.workspace import Workspace
from rapport_feast.publications import read_record

Action = Literal["add", "change", "drop", "complete", "keep"]
UNKNOWN_DEFINITION = "the commits of the old version do not say what it was"


@dataclass(frozen=True)
class Estimate:
    """What a back-fill will take, estimated from the builds of similar groups; no measurement.

    Attributes
    ----------
    seconds, rows
        None where nothing similar was built yet.
    based_on
        The views whose builds it is based on.
    """

    nights: int
    seconds: float | None
    rows: int | None
    based_on: tuple[str, ...]


@dataclass(frozen=True)
class OlderVersion:
    """An older version of a group: it stays until nothing pins it."""

    view: str
    nights: Nights
    size: int
    pinned_by: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """What the catalogue means for one group.

    Attributes
    ----------
    action
        ``add``: never built. ``change``: a new version beside the old. ``complete``: nights are missing. ``keep``:
        nothing to do. ``drop``: in the lake, and no longer in the catalogue or delivered by any source.
    reasons
        What differs from the version before, or why it is dropped.
    backfill
        The nights to back-fill before it serves.
    registered, published
        Whether Feast's registry knows the view, and the newest of its nights that was published.
    """

    action: Action
    group: str
    view: str
    reasons: tuple[str, ...] = ()
    backfill: Nights | None = None
    estimate: Estimate | None = None
    registered: bool = False
    published: str | None = None
    pinned_by: tuple[str, ...] = ()
    older_versions: tuple[OlderVersion, ...] = ()


@dataclass(frozen=True)
class CatalogueState:
    """Everything that the catalogue is compared with."""

    ws: Workspace
    group_versions: Mapping[str, GroupVersion]
    model_uses: Mapping[str, list[ModelUse]]
    registered: frozenset[str]
    published: Mapping[str, str]

    @classmethod
    def of(cls, ws: Workspace) -> "CatalogueState":
        """Read it."""
        from features.store.repo import registered_views  # Feast takes seconds to import

        nights = read_record(path_of(ws)).views
        newest = {view: max(state) for view, state in nights.items() if state}
        return cls(ws, group_versions(ws), model_uses(ws), frozenset(registered_views(ws)), newest)

    def pins(self, view: str) -> tuple[str, ...]:
        """Return the models that pin a view."""
        return tuple(str(use) for use in self.model_uses.get(view, ()) if use.pins)

    def versions(self, name: str) -> list[GroupVersion]:
        """Return the versions of a group in the lake, the one with the newest night first."""
        found = [one for one in self.group_versions.values() if one.name == name]
        return sorted(found, key=lambda one: (one.nights.last, one.nights.first, one.view), reverse=True)


def plan(ws: Workspace) -> list[Change]:
    """Return what the catalogue would add, change, complete, drop and keep, in that order."""
    state = CatalogueState.of(ws)
    changes = [_change(state, group) for group in groups_of(ws.company)]
    changes += _dropped(state)
    order: tuple[Action, ...] = ("add", "change", "complete", "drop", "keep")
    return sorted(changes, key=lambda change: (order.index(change.action), change.group))


def unpinned(changes: Iterable[Change]) -> list[OlderVersion]:
    """Return the older versions that nothing pins any more."""
    return [old for change in changes for old in change.older_versions if not old.pinned_by]


def estimate(group: Group, nights: Nights, state: Mapping[str, GroupVersion], fact_of: Mapping[str, str]) -> Estimate:
    """Estimate what nights of a group will take by what those of similar ones took: of its fact, else of any.

    Parameters
    ----------
    fact_of
        Fact of each view.
    """
    timed = {view: one for view, one in state.items() if one.builds and view != group.view}
    similar = {view: one for view, one in timed.items() if fact_of.get(view) == group.fact} or timed
    if not similar:
        return Estimate(len(nights), None, None, ())
    # The largest build of each says most about a night of a history.
    largest = [max(one.builds, key=lambda build: build[1]) for one in similar.values()]
    rows = [found for one in similar.values() if (found := _rows_a_night(one)) is not None]
    return Estimate(
        len(nights),
        round(median(seconds / length for seconds, length in largest) * len(nights), 1),
        round(median(rows) * len(nights)) if rows else None,
        tuple(sorted(similar)),
    )


def _rows_a_night(one: GroupVersion) -> float | None:
    judged = [(commit.notes or {}).get("suite", {}) for commit in one.commits]
    rows, nights = (sum(suite.get(name, 0) for suite in judged) for name in ("rows", "nights"))
    return rows / nights if nights else None


def _change(state: CatalogueState, group: Group) -> Change:
    versions = state.versions(group.name)
    others = [one for one in versions if one.view != group.view]
    backfill = missing_nights(state.ws, group)
    action: Action = "keep" if backfill is None else "complete"
    reasons: tuple[str, ...] = ()
    if group.view not in state.group_versions:
        action = "change" if others else "add"
        reasons = tuple(_reasons(others[0], group)) if others else ()
    facts = {view: one.definition.get("fact", "") for view, one in state.group_versions.items()}
    return Change(
        action,
        group.name,
        group.view,
        reasons,
        backfill,
        estimate(group, backfill, state.group_versions, facts) if backfill else None,
        group.view in state.registered,
        state.published.get(group.view),
        state.pins(group.view),
        tuple(OlderVersion(one.view, one.nights, one.size, state.pins(one.view)) for one in others),
    )


def _reasons(old: GroupVersion, group: Group) -> list[str]:
    return differences(old.definition, definition(group)) if old.definition else [UNKNOWN_DEFINITION]


def _dropped(state: CatalogueState) -> list[Change]:
    """Return the groups that the lake or Feast has and the catalogue no longer, or no source feeds any more."""
    declared = {group.name for group in catalogue_of(state.ws.company).groups}
    delivered = {group.name for group in groups_of(state.ws.company)}
    views = (
        {one.removesuffix("__live") for one in state.registered} | state.group_versions.keys() | state.published.keys()
    )
    found = []
    for name in sorted({view.rpartition("_")[0] for view in views} - delivered):
        why = "no source delivers its fact any more" if name in declared else "it is not in the catalogue any more"
        versions = state.versions(name)
        newest = versions[0].view if versions else max(v for v in views if v.rpartition("_")[0] == name)
        old = tuple(OlderVersion(one.view, one.nights, one.size, state.pins(one.view)) for one in versions)
        pinned = tuple(sorted({pin for one in old for pin in one.pinned_by}))
        change = Change("drop", name, newest, (why,), pinned_by=pinned, older_versions=old)
        found.append(change)
    return found


def as_json(change: Change) -> dict[str, Any]:
    """Return a change as JSON-able values."""
    expected = change.estimate
    return {
        "action": change.action,
        "group": change.group,
        "view": change.view,
        "reasons": list(change.reasons),
        "backfill": [str(change.backfill.first), str(change.backfill.last)] if change.backfill else None,
        "estimate": {
            "nights": expected.nights,
            "seconds": expected.seconds,
            "rows": expected.rows,
            "based_on": list(expected.based_on),
        }
        if expected
        else None,
        "registered": change.registered,
        "published": change.published,
        "pinned_by": list(change.pinned_by),
        "older_versions": [
            {
                "view": old.view,
                "newest_night": str(old.nights.last),
                "bytes": old.size,
                "pinned_by": list(old.pinned_by),
            }
            for old in change.older_versions
        ],
    }

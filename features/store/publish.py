"""Publishing: the nights of gold go online through Feast, after the build and before anything is served.

Feast's Redis store keeps the newer event time, so nights may come in any order and again. It also skips a row of the
very same instant: a night whose rows changed is withdrawn first.
"""

import json
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from datetime import date, timedelta
from io import StringIO
from typing import Any

import redis
from feast import FeatureStore

from features.build import features_table
from features.catalogue import groups_of
from features.spec import Group
from features.store.online_rows import withdraw
from features.store.repo import apply_definitions, definitions, open_store, write_json
from features.store.sources import identities, refresh
from infra.clock import Nights, cutoff, refuse_open_night, start_of
from infra.errors import Transient
from infra.locks import alone
from infra.online import OnlineStore, online_store
from infra.workspace import Workspace

VIEWS, PUBLISHED = "views.json", "published.json"


@dataclass
class Record:
    """What was published: ``published.json``.

    Attributes
    ----------
    nights
        Night = when it was last published, and by which run.
    views
        View = night = what its rows were known by.
    keys
        How many entities the store held afterwards.
    definitions
        Digest of what Feast had been told.
    """

    nights: dict[str, dict[str, str]] = field(default_factory=dict)
    views: dict[str, dict[str, str]] = field(default_factory=dict)
    keys: int = 0
    definitions: str = ""


@dataclass(frozen=True)
class Plan:
    """What a view needs: the nights to write, and those whose online rows are no longer true."""

    group: Group
    write: Nights | None
    changed: tuple[date, ...]
    nights: dict[str, str]


def publish(ws: Workspace, night: date, run: str = "") -> dict[str, Any]:
    """Bring the online store to a night: the nights up to it that it does not have yet, of every group.

    Parameters
    ----------
    night
        The night; newer values that are online already stay.
    run
        Id of the run, kept beside the time of publication.

    Returns
    -------
    dict
        Night, keys online and values written per view; or that nothing had changed.

    Raises
    ------
    Rejected
        The night is not over, or a group was never built.
    Transient
        The online store went away; the next try completes what this one began.
    """
    refuse_open_night(night, ws.clock)
    with alone(ws.folder("feast") / "publish.lock"), online_store(ws) as online:
        record, told = _recorded(ws), definitions(ws, groups_of(ws.company))
        for group in groups_of(ws.company):
            refresh(ws, group)
        whole = record.keys == 0 or online.count() < record.keys
        plans = [_plan(ws, group, record, night, whole) for group in groups_of(ws.company)]
        idle = not any(plan.write or plan.changed for plan in plans) and str(night) in record.nights
        if ws.settings.skip_unchanged and idle and told == record.definitions and (ws.folder("feast") / VIEWS).exists():
            return {"night": str(night), "skipped": True, "keys": record.keys}
        values = _write(ws, online, plans)
        record.nights[str(night)] = {"published_at": ws.clock.now().isoformat(), "run": run}
        record.views |= {plan.group.view: plan.nights for plan in plans}
        record.keys, record.definitions = online.count(), told
        _describe(ws, record)
        write_json(ws.folder("feast") / PUBLISHED, vars(record))
        return {"night": str(night), "keys": record.keys, "values": values}


def _plan(ws: Workspace, group: Group, record: Record, night: date, whole: bool) -> Plan:
    """Compare the nights of a view's table with those that were published."""
    then = {date.fromisoformat(day): known for day, known in record.views.get(group.view, {}).items()}
    built = identities(ws, group)
    now = {day: known for day, known in built.items() if day <= night or (day in then and whole)}
    changed = tuple(day for day in then if day <= night and now.get(day) != then[day])
    fresh = [day for day in now if day not in then]
    # What was withdrawn may have to come from any older night, and what is lost from all of them.
    days = [*now] if whole or changed else fresh
    if not ws.settings.skip_unchanged and night in now:
        days = [*days, night]
    after = {str(day): known for day, known in sorted((then | now).items()) if day in built}
    return Plan(group, Nights(min(days), max([*days, *(then if changed else ())])) if days else None, changed, after)


def _write(ws: Workspace, online: OnlineStore, plans: list[Plan]) -> dict[str, int]:
    """Write what the plans say through Feast; return the values written per view."""
    store = open_store(ws, online)
    apply_definitions(ws, store)
    try:
        for plan in plans:
            if plan.changed:
                withdraw(online, plan.group, {cutoff(day) for day in plan.changed})
            if plan.write:
                _materialise(store, plan.group, plan.write)
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Transient(f"The online store went away while night values were written ({error}).") from error
    return {plan.group.view: _values(ws, plan) for plan in plans if plan.write}


def _materialise(store: FeatureStore, group: Group, nights: Nights) -> None:
    with redirect_stdout(StringIO()):
        store.materialize(start_of(nights.first), cutoff(nights.last), feature_views=[group.view])


def _values(ws: Workspace, plan: Plan) -> int:
    """Return how many values a plan stands for: its newest row of each entity."""
    with ws.lake.connect() as connection:
        view = ws.lake.view(connection, features_table(plan.group), plan.write)
        counted = connection.execute(f'SELECT count(DISTINCT {plan.group.entity.key}) FROM "{view}"').fetchone()
    return (counted[0] if counted else 0) * len(plan.group.outputs)


def _describe(ws: Workspace, record: Record) -> None:
    """Write ``views.json``, from which serving knows what is online without importing Feast."""
    views = {
        group.view: {
            "group": group.name,
            "entity": group.entity.name,
            "key": group.entity.key,
            "features": {feature.name: feature.dtype for feature in group.outputs},
            "version": group.version,
            "freshness_seconds": int((group.freshness or timedelta(0)).total_seconds()),
        }
        for group in groups_of(ws.company)
    }
    write_json(ws.folder("feast") / VIEWS, {"project": ws.company.name, "views": views, "night": max(record.nights)})


def _recorded(ws: Workspace) -> Record:
    path = ws.folder("feast") / PUBLISHED
    return Record(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else Record()

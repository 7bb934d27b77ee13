"""Publishing: the nights of gold go online through Feast, after the build and before anything is served.

Feast's Redis store keeps the newer event time, so nights may come in any order and again. It also skips a row of the
very same instant: a night whose rows changed is withdrawn first.
"""

from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import date, timedelta
from io import StringIO
from typing import Any

import redis
from feast import FeatureStore
from sqlalchemy.exc import OperationalError

from features.build import features_table
from features.catalogue import groups_of
from features.spec import Group
from features.store.online_rows import withdraw
from features.store.published import (
    Night,
    Record,
    compare,
    nights_of,
    path_of,
    read_record,
    timed,
    write_json,
    write_record,
)
from features.store.repo import apply_definitions, definitions, open_store
from infra.clock import Nights, cutoff, refuse_open_night, start_of
from infra.errors import Transient, one_line
from infra.locks import alone
from infra.online import OnlineStore, online_store
from infra.workspace import Workspace

VIEWS = "views.json"


@dataclass(frozen=True)
class Plan:
    """What a view needs: the nights to write, and those whose online rows are no longer true."""

    group: Group
    write: Nights | None
    changed: tuple[date, ...]
    nights: dict[str, Night]


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
        The online store went away, the registry is busy or the disk is full; the next try completes what this began.
    """
    refuse_open_night(night, ws.clock)
    try:
        return _publish(ws, night, run)
    except (OSError, OperationalError) as error:
        cause = error.orig if isinstance(error, OperationalError) else error
        raise Transient(f"Night {night} could not be published ({one_line(cause or error)}).") from error


def _publish(ws: Workspace, night: date, run: str) -> dict[str, Any]:
    with alone(ws.folder("feast") / "publish.lock"), online_store(ws) as online:
        record, told = read_record(path_of(ws)), definitions(ws, groups_of(ws.company))
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
        write_record(path_of(ws), record)
        return {"night": str(night), "keys": record.keys, "values": values}


def _plan(ws: Workspace, group: Group, record: Record, night: date, whole: bool) -> Plan:
    """Compare the nights of a view's table with those that were published."""
    then, built = record.of(group.view), nights_of(ws, group)
    now = {day: known for day, known in built.items() if day <= night or (day in then and whole)}
    due = {day: known for day, known in then.items() if day <= night}
    changed = compare(ws.lake, features_table(group), due, now)
    fresh = [day for day in now if day not in then]
    # What was withdrawn may have to come from any older night, and what is lost from all of them.
    days = [*now] if whole or changed else fresh
    if not ws.settings.skip_unchanged and night in now:
        days = [*days, night]
    after = {day: known for day, known in (then | now).items() if day in built}
    write = Nights(min(days), max([*days, *(then if changed else ())])) if days else None
    return Plan(group, write, changed, timed(then, after, changed, night, ws.clock.now().isoformat()))


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

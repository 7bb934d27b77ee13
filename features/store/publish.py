"""Publishing: the nights of gold go online through Feast, after the build and before anything is served.

The online store keeps the newer row, so nights may come in any order and again. A night built again replaces its rows;
rows that it lost are withdrawn first. With each night go the priors of its segments, then a watermark, which says on
the server itself what it was given: one that came back empty has none, and is filled again.
"""

import shutil
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import date, timedelta
from io import StringIO
from typing import Any

import duckdb
import redis
from sqlalchemy.exc import OperationalError

from features.build import features_table
from features.catalogue import groups_of
from features.priors import SEGMENT, prior_view, priors, segment_of
from features.spec import Group, columns_in
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
from features.store.repo import UNFINISHED, apply_definitions, definitions, open_store
from features.store.withdrawn import withdraw
from infra.clock import Nights, cutoff, refuse_open_night, start_of
from infra.errors import Transient, one_line
from infra.feast_form import EPOCH, entity_key
from infra.locks import alone
from infra.online import OnlineStore, online_store
from infra.online_rows import RowWriter, ViewForm
from infra.packed import Packing, published_key
from infra.workspace import Workspace

VIEWS = "views.json"
# Measures that are seconds up to the moment of the question.
ELAPSED = frozenset({"since", "age"})


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
    except (OSError, duckdb.IOException, OperationalError) as error:
        cause = error.orig if isinstance(error, OperationalError) else error
        raise Transient(f"Night {night} could not be published ({one_line(cause or error)}).") from error


def refill_if_empty(ws: Workspace) -> bool:
    """Publish again what was published if the online store does not hold it any more; return whether it was so.

    Cheap where nothing is missing: one question to the server.

    Raises
    ------
    Transient
        The online store went away.
    """
    record = read_record(path_of(ws))
    if not record.nights:
        return False
    with online_store(ws) as online:
        if _watermark(online)[0] == max(record.nights):
            return False
        newest = max(record.nights)
        publish(ws, date.fromisoformat(newest), record.nights[newest]["run"])
    return True


def _publish(ws: Workspace, night: date, run: str) -> dict[str, Any]:
    with alone(ws.folder("feast") / "publish.lock"), online_store(ws) as online:
        groups = groups_of(ws.company)
        record, told = read_record(path_of(ws)), definitions(ws, groups)
        newest = max(record.nights, default=None)
        given, keys = _watermark(online)
        whole = newest is None or given != newest or online.count() < keys
        plans = [_plan(ws, group, record, night, whole) for group in groups]
        idle = not any(plan.write or plan.changed for plan in plans) and str(night) in record.nights
        if ws.settings.skip_unchanged and idle and told == record.definitions and (ws.folder("feast") / VIEWS).exists():
            return {"night": str(night), "skipped": True, "keys": record.keys}
        record.nights[str(night)] = {"published_at": ws.clock.now().isoformat(), "run": run}
        values = _write(ws, online, plans)
        _write_priors(ws, online, groups, max(date.fromisoformat(each) for each in record.nights))
        record.views |= {plan.group.view: plan.nights for plan in plans}
        record.keys, record.definitions = _subjects(online), told
        _describe(ws, record)
        write_record(path_of(ws), record)
        _mark(online, record)
        shutil.rmtree(ws.folder("feast") / UNFINISHED, ignore_errors=True)
        return {"night": str(night), "keys": record.keys, "values": values}


def _watermark(online: OnlineStore) -> tuple[str | None, int]:
    """Return, by the server's own account, the newest night that it was given and how many keys it then had."""
    try:
        with online.client() as client:
            night, keys = client.hmget(published_key(online.project), ["night", "keys"])
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise online.silent(error) from error
    return (night.decode(), int(keys)) if night and keys else (None, 0)


def _subjects(online: OnlineStore) -> int:
    """Return how many entities are online; segments, which only have priors, are not counted."""
    segments = entity_key("", {SEGMENT: ("string", "")})[:-4]
    return sum(not key.startswith(segments) for key in online.keys())  # noqa: SIM118  # it is no mapping


def _mark(online: OnlineStore, record: Record) -> None:
    night = max(record.nights)
    told = {"night": night, "keys": online.count(), "published_at": record.nights[night]["published_at"]}
    try:
        with online.client() as client:
            client.hset(published_key(online.project), mapping=told)
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise online.silent(error) from error


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
    store, replacing = open_store(ws, online), open_store(ws, online, replace=True)
    apply_definitions(ws, store)
    try:
        for plan in plans:
            if plan.changed:
                withdraw(ws, online, plan.group, plan.changed)
            if plan.write:
                start, end = start_of(plan.write.first), cutoff(plan.write.last)
                with redirect_stdout(StringIO()):
                    (replacing if plan.changed else store).materialize(start, end, feature_views=[plan.group.view])
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise online.silent(error) from error
    return {plan.group.view: _values(ws, plan) for plan in plans if plan.write}


def _write_priors(ws: Workspace, online: OnlineStore, groups: tuple[Group, ...], night: date) -> None:
    known = (cutoff(night) - EPOCH) // timedelta(microseconds=1)
    with RowWriter(online, replace=True) as writer:
        for group in groups:
            rows = priors(ws, groups, group, night)
            packing = Packing({feature.name: feature.dtype for feature in group.outputs}, group.version)
            form = ViewForm(ws.company.name, SEGMENT, prior_view(group), packing)
            writer.write(form, rows[SEGMENT].combine_chunks(), rows, known, known)


def _values(ws: Workspace, plan: Plan) -> int:
    """Return how many values a plan stands for: its newest row of each entity."""
    with ws.lake.connect() as connection:
        view = ws.lake.view(connection, features_table(plan.group), plan.write)
        counted = connection.execute(f'SELECT count(DISTINCT {plan.group.entity.key}) FROM "{view}"').fetchone()
    return (counted[0] if counted else 0) * len(plan.group.outputs)


def _describe(ws: Workspace, record: Record) -> None:
    """Write ``views.json``, from which serving knows what is online without importing Feast."""
    groups = groups_of(ws.company)
    views: dict[str, dict[str, Any]] = {}
    for group in groups:
        views[group.view] = described(group)
        if group.served == "live":
            views[group.live_view] = described_live(group)
    segment = segment_of(groups)
    told = {
        "project": ws.company.name,
        "views": views,
        "night": max(record.nights),
        "segment": f"{segment[0].view}:{segment[1]}" if segment else None,
    }
    write_json(ws.folder("feast") / VIEWS, told)


def described(group: Group) -> dict[str, Any]:
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


def described_live(group: Group) -> dict[str, Any]:
    """Return what serving is told of a group's live view: also which features are finished when they are read."""
    elapsed = [name for name, (measure, _window) in group.measured.items() if measure.kind in ELAPSED]
    moving, derived = set(elapsed), []
    for one in group.ordered:
        if not moving.isdisjoint(columns_in([one.value])):
            moving.add(one.name)
            derived.append(one.name)
    return described(group) | {
        "served": "live",
        "nightly": group.view,
        "freshness_seconds": int(group.live_freshness.total_seconds()),
        "elapsed": elapsed,
        "derived": derived,
    }

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

from features.catalogue import groups_of
from features.compute.priors import SEGMENT, prior_view, priors
from features.compute.tables import features_table
from features.declare.group import Group
from features.store.published import compare, nights_of, path_of, timed, write_record
from features.store.repo import UNFINISHED, apply_definitions, definitions, open_store
from features.store.views_file import VIEWS, write_views
from features.store.watermark import count_subjects, read_watermark, write_watermark
from features.store.withdraw import withdraw
from infra.clock import Nights, cutoff, refuse_open_night, start_of
from infra.redis.online_store import online_store
from infra.telemetry import Log
from infra.workspace import Workspace
from rapport_feast.errors import Transient, one_line
from rapport_feast.locks import exclusive_lock
from rapport_feast.publications import Night, Record, read_record
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.encoding import ViewForm
from rapport_feast.row.layout import Packing
from rapport_feast.row.writer import RowWriter
from rapport_feast.times import EPOCH

LOG = Log(__name__)


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
        done = _publish(ws, night, run)
    except (OSError, duckdb.IOException, OperationalError) as error:
        cause = error.orig if isinstance(error, OperationalError) else error
        raise Transient(f"Night {night} could not be published ({one_line(cause or error)}).") from error
    LOG.info("published", night=night, keys=done["keys"], skipped=done.get("skipped", False))
    return done


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
        if read_watermark(online)[0] == max(record.nights):
            return False
        newest = max(record.nights)
        publish(ws, date.fromisoformat(newest), record.nights[newest]["run"])
    return True


def _publish(ws: Workspace, night: date, run: str) -> dict[str, Any]:
    with exclusive_lock(ws.folder("feast") / "publish.lock"), online_store(ws) as online:
        groups = groups_of(ws.company)
        record, told = read_record(path_of(ws)), definitions(ws, groups)
        newest = max(record.nights, default=None)
        given, keys = read_watermark(online)
        whole = newest is None or given != newest or online.count() < keys
        plans = [_plan(ws, group, record, night, whole) for group in groups]
        idle = not any(plan.write or plan.changed for plan in plans) and str(night) in record.nights
        if ws.settings.skip_unchanged and idle and told == record.definitions and (ws.folder("feast") / VIEWS).exists():
            return {"night": str(night), "skipped": True, "keys": record.keys}
        record.nights[str(night)] = {"published_at": ws.clock.now().isoformat(), "run": run}
        values = _write(ws, online, plans)
        _write_priors(ws, online, groups, max(date.fromisoformat(each) for each in record.nights))
        record.views |= {plan.group.view: plan.nights for plan in plans}
        record.keys, record.definitions = count_subjects(online), told
        write_views(ws, record)
        write_record(path_of(ws), record)
        write_watermark(online, record)
        shutil.rmtree(ws.folder("feast") / UNFINISHED, ignore_errors=True)
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

"""Every published feature of one customer, for ``rapport lookup``."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from features.catalogue import catalogue_of
from infra.clock import Clock
from infra.redis.online_store import online_store
from infra.workspace import Workspace
from rapport_feast.row.address import OnlineStore
from rapport_feast.value_form import Value
from serving.lookup.connection import StoreReadError, StoreUnreachable
from serving.lookup.outcome import REASONS
from serving.lookup.plans import Plan
from serving.lookup.reader import Reader
from serving.lookup.result import LookupResult, readings
from serving.lookup.views import Reference, Views
from serving.lookup.views_file import load_views
from serving.lookup.writer_status import WriterStatus
from serving.metrics import ServiceMetrics

JOIN_SECONDS = 2.0


@dataclass(frozen=True)
class FeatureRow:
    """One feature of a customer, as ``rapport lookup`` prints it."""

    view: str
    feature: str
    value: Value
    event_time: datetime | None
    age_seconds: float | None
    status: str
    rung: str
    reason: str


def lookup_customer(ws: Workspace, customer_id: str) -> list[FeatureRow]:
    """Return every published feature of a customer, each with its rung; live groups by their live view.

    Raises
    ------
    Rejected
        Nothing was published yet.
    Transient
        The online store does not answer.
    """
    views = load_views(ws.folder("feast"), catalogue_of(ws.company))
    nightly = [view for view in views.of_entity("customer") if view.served == "nightly"]
    key = views.key_of("customer")
    references = [
        Reference((views.live_of(view) or view).name, feature) for view in nightly for feature in view.features
    ]
    plan = Plan(dict.fromkeys(references, key), views, full_names=True, with_views=False)
    with online_store(ws) as store:
        result = asyncio.run(_read_one(store, ws.clock, views, plan, {key: [customer_id]}))
    rows = readings(plan, result.rows[key])[0] if references else {}
    return [
        FeatureRow(*reference, one.value, one.event_time, one.age_seconds, one.status, one.rung, one.reason)
        for reference, one in rows.items()
    ]


async def _read_one(
    store: OnlineStore, clock: Clock, views: Views, plan: Plan, entities: Mapping[str, Sequence[str]]
) -> LookupResult:
    reader = Reader(store, clock, ServiceMetrics(), WriterStatus())
    reader.start(lambda: None)
    try:
        if reader.pool is None or not await reader.pool.wait(JOIN_SECONDS):
            raise StoreUnreachable
        await reader.refresh_writers(views)
        await reader.refresh_priors(views)
        result = await reader.read(plan, entities)
        if reader.writers.unread:  # the customer's segment is known only now
            await reader.refresh_priors(views)
            result = await reader.read(plan, entities)
    except StoreReadError as error:
        raise store.silent(TimeoutError(REASONS[error.reason])) from error
    finally:
        await reader.close()
    return result

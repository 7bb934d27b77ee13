"""Reads features from the online store and brings every value down the ladder to where there is one.

One ``HMGET`` per entity over packed rows, all in one write, with a deadline; past it, or without a store, every value
is a prior or its declared default. What the writers are doing is followed in the background, never by a request.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import hiredis

from infra.clock import Clock, cutoff, parse_night
from infra.errors import RapportError
from infra.feast_form import EPOCH, Value, entity_key
from infra.online import OnlineStore, online_store
from infra.packed import published_key, row_field, stream_key
from infra.workspace import Workspace
from serving.ladder import NULL_VALUE, PRESENT, REASONS, Chain, Outcome, Prior, Pulse
from serving.metrics import Meter
from serving.pipeline import Pipeline, Silent, command
from serving.plans import KeyPlan, Plan
from serving.schema import Rung, Status
from serving.views import Reference, Views, load_views

PULSE_SECONDS = 0.1
PRIOR_SECONDS = 2.0
JOIN_SECONDS = 2.0
Rows = list[tuple[Chain, list[Outcome]]]


class Reading(NamedTuple):
    """One value as it was served.

    Attributes
    ----------
    status
        Feast's word for the first rung that was asked.
    rung, reason
        Where the value comes from, and why not from above; the reason is empty on the first rung.
    event_us, age_us
        Of the row that the value stands in; a default has neither.
    """

    value: Value
    status: Status
    rung: Rung
    reason: str
    event_us: int | None = None
    age_us: int | None = None

    @property
    def event_time(self) -> datetime | None:
        """When the row is of."""
        return None if self.event_us is None else moment(self.event_us)

    @property
    def age_seconds(self) -> float | None:
        """How far behind the writer of the row is."""
        return None if self.age_us is None else self.age_us / 1e6


class Found(NamedTuple):
    """What was read for a request.

    Attributes
    ----------
    served_us, applied_us
        When, and the log time the stream had applied before the read was sent.
    rows
        Per join key each ladder with its outcomes, in the order of the ids.
    degraded
        Whether a value fell for more than that it was never there.
    """

    served_us: int
    applied_us: int | None
    rows: Mapping[str, Rows]
    degraded: bool


class Reader:
    """Reads one project of one store; bound to the event loop in which it is used.

    Parameters
    ----------
    store
        None as long as it was not found: then every read falls to the priors and defaults.
    """

    def __init__(self, store: OnlineStore | None, clock: Clock, meter: Meter, pulse: Pulse) -> None:
        self.store = store
        self.clock = clock
        self.meter = meter
        self.pulse = pulse
        self.pipeline = None if store is None else Pipeline(store, discarded=meter.discarded)
        self._follow: asyncio.Task[None] | None = None

    def start(self, views: Callable[[], Views | None]) -> None:
        """Begin to connect and to follow the writers, for whatever views there are."""
        if self.pipeline is not None:
            self.pipeline.start()
            self._follow = asyncio.create_task(self._keep_up(views))

    async def close(self) -> None:
        """Stop following and close every connection."""
        if self._follow is not None:
            self._follow.cancel()
            await asyncio.gather(self._follow, return_exceptions=True)
        if self.pipeline is not None:
            await self.pipeline.close()

    @property
    def up(self) -> bool:
        """Whether a connection to the store stands."""
        return self.pipeline is not None and self.pipeline.up

    async def read(self, plan: Plan, entities: Mapping[str, Sequence[str]]) -> Found:
        """Return the outcomes of every ladder of a plan; it never fails and never waits past the deadline."""
        applied_us = self.pulse.applied_us  # before the read: a row may be newer than this, but never older
        asked = [(part, *self._ask(part, entities[part.key])) for part in plan.parts]
        answers = [
            (part, ids, reply if isinstance(reply, str) else await _replies(reply)) for part, ids, reply in asked
        ]
        now_us = micros(self.clock.now())
        degraded = False
        rows: dict[str, Rows] = {}
        for part, ids, replies in answers:
            rows[part.key], fell = self._rows(part, ids, replies, now_us)
            if len(ids) != len(entities[part.key]):
                rows[part.key] = _repeated(rows[part.key], ids, entities[part.key])
            degraded = degraded or fell
        return Found(now_us, applied_us, rows, degraded)

    def _ask(self, part: KeyPlan, ids: Sequence[str]) -> "tuple[Sequence[str], asyncio.Future[list[Any]] | str]":
        """Send the reads of the ids, each once however often it is named."""
        if len(ids) > 1:
            ids = list(dict.fromkeys(ids))
        if self.pipeline is None:
            return ids, "unreachable"
        try:
            return ids, self.pipeline.call(part.commands(ids), len(ids), part.width) if part.width else "unpublished"
        except Silent as error:
            return ids, error.cause

    def _rows(self, part: KeyPlan, ids: Sequence[str], replies: list[Any] | str, now_us: int) -> tuple[Rows, bool]:
        pulse, faults = self.pulse, self.meter.faults
        degraded = False
        rows: Rows = []
        if isinstance(replies, str):
            faults[replies] += 1
        for chain in part.chains:
            if isinstance(replies, str):
                outcomes = [chain.without_store(replies, now_us, pulse)] * len(ids)
            else:
                outcomes = [
                    chain.climb(reply, now_us, pulse, faults)
                    if isinstance(reply, list)
                    else self._refused(chain, reply, now_us)
                    for reply in replies
                ]
            for outcome in outcomes:
                self.meter.rungs[outcome.rung] += len(chain.features)
                if outcome.reason and outcome.reason != "not_found":
                    degraded = True
            rows.append((chain, outcomes))
        return rows, degraded

    def _refused(self, chain: Chain, reply: hiredis.ReplyError, now_us: int) -> Outcome:
        reason = "wrong_type" if str(reply).startswith("WRONGTYPE") else "refused"
        self.meter.faults[reason] += 1
        return chain.without_store(reason, now_us, self.pulse)

    async def _keep_up(self, views: Callable[[], Views | None]) -> None:
        """Follow the heartbeat, the night and the priors; what cannot be read now ages until it can."""
        since = PRIOR_SECONDS
        while True:
            known = views()
            if known is not None:
                self.pulse.cutoff_us = self.pulse.cutoff_us or micros(known.cutoff)
                with suppress(Silent):
                    await self.look(known)
                    if since >= PRIOR_SECONDS or self.pulse.unread:
                        await self.look_at_priors(known)
                        since = 0.0
            await asyncio.sleep(PULSE_SECONDS)
            since += PULSE_SECONDS

    async def look(self, views: Views) -> None:
        """Read how far the writers are.

        Raises
        ------
        Silent
            The store gives no answer.
        """
        heartbeat, published = await self._call(
            [("HMGET", stream_key(views.project), "applied"), ("HMGET", published_key(views.project), "night")]
        )
        with suppress(ValueError, TypeError):
            self.pulse.applied_us = None if heartbeat[0] is None else int(heartbeat[0])
        night = views.cutoff
        with suppress(RapportError, AttributeError, ValueError, TypeError):
            night = cutoff(parse_night(published[0].decode()))
        self.pulse.cutoff_us = micros(night)

    async def look_at_priors(self, views: Views) -> None:
        """Read the priors of every segment that was met.

        Raises
        ------
        Silent
            The store gives no answer.
        """
        nightly = [view for view in views.by_name.values() if view.served == "nightly"]
        segments = sorted(self.pulse.segments)
        fields = [row_field(view.prior) for view in nightly]
        if not fields:
            return
        replies = await self._call(
            [("HMGET", entity_key(views.project, {"segment_id": ("string", segment)}), *fields) for segment in segments]
        )
        priors = {}
        for segment, reply in zip(segments, replies, strict=True):
            for view, raw in zip(nightly, reply if isinstance(reply, list) else (), strict=False):
                with suppress(ValueError, TypeError):
                    row = view.packing.unpack(raw)
                    if row.definition == view.packing.definition:
                        values = dict(zip(view.features, row.values, strict=True))
                        priors[view.prior, segment] = Prior(values, row.event_us, row.known_us)
        self.pulse.priors, self.pulse.unread = priors, False

    async def _call(self, commands: Sequence[Sequence[str | bytes]]) -> list[Any]:
        if self.pipeline is None:
            raise Silent("unreachable")
        return await self.pipeline.call(b"".join(map(command, commands)), len(commands))


def readings(plan: Plan, rows: Rows) -> list[dict[Reference, Reading]]:
    """Return the readings of each entity of a plan of one join key, by reference in the order asked."""
    entities = len(rows[0][1]) if rows else 0
    found: list[dict[Reference, Reading]] = [{} for _ in range(entities)]
    for chain, outcomes in rows:
        for place, outcome in enumerate(outcomes):
            event_us = None if outcome.age_us is None else outcome.event_us
            for feature, value in zip(chain.features, chain.pick(outcome.values), strict=True):
                status = outcome.status or (PRESENT if value is not None else NULL_VALUE)
                found[place][Reference(chain.name, feature)] = Reading(
                    value, status, outcome.rung, outcome.reason, event_us, outcome.age_us
                )
    return [{reference: one[reference] for reference in plan.references} for one in found]


@dataclass(frozen=True)
class Row:
    """One feature of a customer, as ``rapport lookup`` prints it."""

    view: str
    feature: str
    value: Value
    event_time: datetime | None
    age_seconds: float | None
    status: str
    rung: str
    reason: str


def lookup(ws: Workspace, customer_id: str) -> list[Row]:
    """Return every published feature of a customer, each with its rung; live groups by their live view.

    Raises
    ------
    Rejected
        Nothing was published yet.
    Transient
        The online store does not answer.
    """
    views = load_views(ws.folder("feast"))
    nightly = [view for view in views.of_entity("customer") if view.served == "nightly"]
    key = views.key_of("customer")
    wanted = [Reference((views.live_of(view) or view).name, feature) for view in nightly for feature in view.features]
    plan = Plan(dict.fromkeys(wanted, key), views, full_names=True, with_views=False)
    with online_store(ws) as store:
        found = asyncio.run(_read_one(store, ws.clock, views, plan, {key: [customer_id]}))
    rows = readings(plan, found.rows[key])[0] if wanted else {}
    return [
        Row(*reference, one.value, one.event_time, one.age_seconds, one.status, one.rung, one.reason)
        for reference, one in rows.items()
    ]


def micros(at: datetime) -> int:
    """Return an aware moment as microseconds since the epoch."""
    since = at - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment(us: int) -> datetime:
    """Return microseconds since the epoch as an aware moment; one outside the calendar as its end."""
    try:
        return EPOCH + timedelta(microseconds=us)
    except OverflowError:
        return datetime.max.replace(tzinfo=EPOCH.tzinfo) if us > 0 else datetime.min.replace(tzinfo=EPOCH.tzinfo)


async def _read_one(
    store: OnlineStore, clock: Clock, views: Views, plan: Plan, entities: Mapping[str, Sequence[str]]
) -> Found:
    reader = Reader(store, clock, Meter(), Pulse())
    reader.start(lambda: None)
    try:
        if reader.pipeline is None or not await reader.pipeline.wait(JOIN_SECONDS):
            raise Silent("unreachable")
        await reader.look(views)
        await reader.look_at_priors(views)
        found = await reader.read(plan, entities)
        if reader.pulse.unread:  # the customer's segment is known only now
            await reader.look_at_priors(views)
            found = await reader.read(plan, entities)
    except Silent as error:
        raise store.silent(TimeoutError(REASONS[error.cause])) from error
    finally:
        await reader.close()
    return found


async def _replies(reply: "asyncio.Future[list[Any]]") -> list[Any] | str:
    try:
        return await reply
    except Silent as error:
        return error.cause


def _repeated(rows: Rows, unique: Sequence[str], ids: Sequence[str]) -> Rows:
    """Return the outcomes of ids, some of which were named more than once."""
    places = {entity: place for place, entity in enumerate(unique)}
    return [(chain, [outcomes[places[entity]] for entity in ids]) for chain, outcomes in rows]

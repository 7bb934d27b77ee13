"""Reads features from the online store and brings every value down the ladder to where there is one.

One ``HMGET`` per entity over packed rows, all in one write, with a deadline; past it, or without a store, every value
is a prior or its declared default. What the writers are doing is followed in the background, never by a request.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import hiredis

from infra.clock import Clock, cutoff, parse_night
from rapport_feast.address import OnlineStore
from rapport_feast.errors import RapportError
from rapport_feast.resp import encode_command
from rapport_feast.row.keys import entity_key, published_key, row_field, stream_key
from serving.lookup.connection import StoreReadError
from serving.lookup.connection_pool import ConnectionPool
from serving.lookup.ladder import Ladder
from serving.lookup.outcome import Outcome
from serving.lookup.plans import KeyPlan, Plan
from serving.lookup.result import LookupResult, Rows
from serving.lookup.views import Views
from serving.lookup.writer_status import Prior, WriterStatus
from serving.metrics import ServiceMetrics
from serving.timestamps import micros

WRITER_STATUS_SECONDS = 0.1
PRIOR_SECONDS = 2.0


class Reader:
    """Reads one project of one store; bound to the event loop in which it is used.

    Parameters
    ----------
    store
        None as long as it was not found: then every read falls to the priors and defaults.
    """

    def __init__(self, store: OnlineStore | None, clock: Clock, meter: ServiceMetrics, pulse: WriterStatus) -> None:
        self.store = store
        self.clock = clock
        self.meter = meter
        self.pulse = pulse
        self.pipeline = None if store is None else ConnectionPool(store, discarded=meter.discarded)
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

    async def read(self, plan: Plan, entities: Mapping[str, Sequence[str]]) -> LookupResult:
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
                rows[part.key] = _with_duplicates(rows[part.key], ids, entities[part.key])
            degraded = degraded or fell
        return LookupResult(now_us, applied_us, rows, degraded)

    def _ask(self, part: KeyPlan, ids: Sequence[str]) -> "tuple[Sequence[str], asyncio.Future[list[Any]] | str]":
        """Send the reads of the ids, each once however often it is named."""
        if len(ids) > 1:
            ids = list(dict.fromkeys(ids))
        if self.pipeline is None:
            return ids, "unreachable"
        try:
            return ids, self.pipeline.call(part.commands(ids), len(ids), part.width) if part.width else "unpublished"
        except StoreReadError as error:
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

    def _refused(self, chain: Ladder, reply: hiredis.ReplyError, now_us: int) -> Outcome:
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
                with suppress(StoreReadError):
                    await self.look(known)
                    if since >= PRIOR_SECONDS or self.pulse.unread:
                        await self.look_at_priors(known)
                        since = 0.0
            await asyncio.sleep(WRITER_STATUS_SECONDS)
            since += WRITER_STATUS_SECONDS

    async def look(self, views: Views) -> None:
        """Read how far the writers are.

        Raises
        ------
        StoreReadError
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
        StoreReadError
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
            raise StoreReadError("unreachable")
        return await self.pipeline.call(b"".join(map(encode_command, commands)), len(commands))


async def _replies(reply: "asyncio.Future[list[Any]]") -> list[Any] | str:
    try:
        return await reply
    except StoreReadError as error:
        return error.cause


def _with_duplicates(rows: Rows, unique: Sequence[str], ids: Sequence[str]) -> Rows:
    """Return the outcomes of ids, some of which were named more than once."""
    places = {entity: place for place, entity in enumerate(unique)}
    return [(chain, [outcomes[places[entity]] for entity in ids]) for chain, outcomes in rows]

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
from rapport_feast.errors import RapportError
from rapport_feast.resp import encode_command
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.keys import entity_key, published_key, row_field, stream_key
from serving.lookup.connection import StoreReadError, StoreUnreachable
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

    def __init__(self, store: OnlineStore | None, clock: Clock, metrics: ServiceMetrics, writers: WriterStatus) -> None:
        self.store = store
        self.clock = clock
        self.metrics = metrics
        self.writers = writers
        self.pool = None if store is None else ConnectionPool(store, discarded=metrics.discarded)
        self._following: asyncio.Task[None] | None = None

    def start(self, views: Callable[[], Views | None]) -> None:
        """Begin to connect and to follow the writers, for whatever views there are."""
        if self.pool is not None:
            self.pool.start()
            self._following = asyncio.create_task(self._follow_writers(views))

    async def close(self) -> None:
        """Stop following and close every connection."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self.pool is not None:
            await self.pool.close()

    @property
    def is_connected(self) -> bool:
        """Whether a connection to the store stands."""
        return self.pool is not None and self.pool.is_connected

    async def read(self, plan: Plan, entities: Mapping[str, Sequence[str]]) -> LookupResult:
        """Return the outcomes of every ladder of a plan; it never fails and never waits past the deadline."""
        applied_us = self.writers.applied_us  # before the read: a row may be newer than this, but never older
        sent = [(key_plan, *self._send(key_plan, entities[key_plan.key])) for key_plan in plan.parts]
        answers = [
            (key_plan, ids, reply if isinstance(reply, str) else await _replies(reply)) for key_plan, ids, reply in sent
        ]
        now_us = micros(self.clock.now())
        degraded = False
        rows: dict[str, Rows] = {}
        for key_plan, ids, replies in answers:
            rows[key_plan.key], row_degraded = self._rows(key_plan, ids, replies, now_us)
            if len(ids) != len(entities[key_plan.key]):
                rows[key_plan.key] = _with_duplicates(rows[key_plan.key], ids, entities[key_plan.key])
            degraded = degraded or row_degraded
        return LookupResult(now_us, applied_us, rows, degraded)

    def _send(self, key_plan: KeyPlan, ids: Sequence[str]) -> "tuple[Sequence[str], asyncio.Future[list[Any]] | str]":
        """Send the reads of the ids, each once however often it is named."""
        if len(ids) > 1:
            ids = list(dict.fromkeys(ids))
        if self.pool is None:
            return ids, "unreachable"
        try:
            return ids, self.pool.call(
                key_plan.commands(ids), len(ids), key_plan.width
            ) if key_plan.width else "unpublished"
        except StoreReadError as error:
            return ids, error.reason

    def _rows(self, key_plan: KeyPlan, ids: Sequence[str], replies: list[Any] | str, now_us: int) -> tuple[Rows, bool]:
        writers, faults = self.writers, self.metrics.faults
        degraded = False
        rows: Rows = []
        if isinstance(replies, str):
            faults[replies] += 1
        for ladder in key_plan.ladders:
            if isinstance(replies, str):
                outcomes = [ladder.without_row(replies, now_us, writers)] * len(ids)
            else:
                outcomes = [
                    ladder.fall_to_usable(reply, now_us, writers, faults)
                    if isinstance(reply, list)
                    else self._error_reply(ladder, reply, now_us)
                    for reply in replies
                ]
            for outcome in outcomes:
                self.metrics.rungs[outcome.rung] += len(ladder.features)
                if outcome.reason and outcome.reason != "not_found":
                    degraded = True
            rows.append((ladder, outcomes))
        return rows, degraded

    def _error_reply(self, ladder: Ladder, reply: hiredis.ReplyError, now_us: int) -> Outcome:
        reason = "wrong_type" if str(reply).startswith("WRONGTYPE") else "refused"
        self.metrics.faults[reason] += 1
        return ladder.without_row(reason, now_us, self.writers)

    async def _follow_writers(self, views: Callable[[], Views | None]) -> None:
        """Follow the heartbeat, the night and the priors; what cannot be read now ages until it can."""
        since = PRIOR_SECONDS
        while True:
            known = views()
            if known is not None:
                self.writers.cutoff_us = self.writers.cutoff_us or micros(known.cutoff)
                with suppress(StoreReadError):
                    await self.refresh_writers(known)
                    if since >= PRIOR_SECONDS or self.writers.unread:
                        await self.refresh_priors(known)
                        since = 0.0
            await asyncio.sleep(WRITER_STATUS_SECONDS)
            since += WRITER_STATUS_SECONDS

    async def refresh_writers(self, views: Views) -> None:
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
            self.writers.applied_us = None if heartbeat[0] is None else int(heartbeat[0])
        night = views.cutoff
        with suppress(RapportError, AttributeError, ValueError, TypeError):
            night = cutoff(parse_night(published[0].decode()))
        self.writers.cutoff_us = micros(night)

    async def refresh_priors(self, views: Views) -> None:
        """Read the priors of every segment that was met.

        Raises
        ------
        StoreReadError
            The store gives no answer.
        """
        nightly = [view for view in views.by_name.values() if view.served == "nightly"]
        segments = sorted(self.writers.segments)
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
        self.writers.priors, self.writers.unread = priors, False

    async def _call(self, commands: Sequence[Sequence[str | bytes]]) -> list[Any]:
        if self.pool is None:
            raise StoreUnreachable
        return await self.pool.call(b"".join(map(encode_command, commands)), len(commands))


async def _replies(reply: "asyncio.Future[list[Any]]") -> list[Any] | str:
    try:
        return await reply
    except StoreReadError as error:
        return error.reason


def _with_duplicates(rows: Rows, unique: Sequence[str], ids: Sequence[str]) -> Rows:
    """Return the outcomes of ids, some of which were named more than once."""
    places = {entity: place for place, entity in enumerate(unique)}
    return [(ladder, [outcomes[places[entity]] for entity in ids]) for ladder, outcomes in rows]

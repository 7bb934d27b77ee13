"""What is served at a moment, kept up by a task of the running event loop."""

import asyncio
import gc
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from infra.models.scorer import Scorer
from infra.redis.online_store import online_store
from infra.telemetry import Log, cause_of
from infra.workspace import Workspace
from rapport_feast.errors import RapportError
from rapport_feast.row.address import OnlineStore
from serving.errors import OnlineStoreNotJoined, ServiceStarting, ViewsNotLoaded
from serving.forms.encoding import json_time
from serving.forms.service import Readiness
from serving.lookup.plans import Planner
from serving.lookup.reader import Reader
from serving.lookup.result import LookupResult
from serving.lookup.views import Views
from serving.lookup.writer_status import WriterStatus
from serving.metrics import ServiceMetrics
from serving.sessions.compiled import CompiledFeatures, ConversationFeatures
from serving.sessions.store import Sessions
from serving.state.artifacts import ArtifactCache
from serving.state.samples import Sample, SampleWriter
from serving.timestamps import SECOND_US, micros, moment

LOG = Log(__name__)

WATCH_SECONDS = 1.0
BREAKER = {"closed": 0.0, "half-open": 0.5, "open": 1.0}


class State:
    """The shelf, the online store and the conversations in progress, kept up by a task of the running event loop.

    Parameters
    ----------
    ws
        The company's workspace.
    conversations
        How the features of conversations are compiled; without it no sessions are kept.
    """

    def __init__(self, ws: Workspace, conversations: Callable[[], ConversationFeatures] | None = None) -> None:
        self.ws = ws
        self.artifacts = ArtifactCache(ws)
        self.metrics = ServiceMetrics()
        self.writers = WriterStatus()
        self.samples = SampleWriter(ws.folder("served"), ws.settings.sample_rate)
        self.reader = Reader(None, ws.clock, self.metrics, self.writers)
        self._compiled = CompiledFeatures(conversations) if conversations else None
        self._sessions: Sessions | None = None
        self.loaded = False
        self._run_id, self._answers = secrets.token_hex(4), 0
        self.store_error = ""
        self._store_resources = ExitStack()
        self._stop = asyncio.Event()
        self._refreshing: asyncio.Task[None] | None = None
        self.metrics.gauges = self._gauges

    def start(self) -> None:
        """Begin to load and to watch; requests are answered meanwhile."""
        self.samples.start()
        self._refreshing = asyncio.create_task(self._keep_refreshing())

    async def close(self) -> None:
        """Stop watching and leave the online store."""
        self._stop.set()
        if self._refreshing is not None:
            await self._refreshing
        await self.reader.close()
        if self._sessions is not None:
            await self._sessions.close()
        if self._compiled is not None:
            await asyncio.to_thread(self._compiled.close)
        await asyncio.to_thread(self.samples.close)
        await asyncio.to_thread(self._store_resources.close)
        gc.unfreeze()

    @property
    def views(self) -> Views:
        """The published views.

        Raises
        ------
        ViewsNotLoaded
            They are not read yet, or nothing was published yet.
        """
        return self.planner.views

    @property
    def planner(self) -> Planner:
        """What makes plans of lookups of the published views.

        Raises
        ------
        ViewsNotLoaded
            They are not read yet, or nothing was published yet.
        """
        if self.artifacts.planner is None:
            raise ViewsNotLoaded(self.artifacts.views_error or "The service is still reading the published views.")
        return self.artifacts.planner

    @property
    def models(self) -> dict[str, Scorer]:
        """The champions that are served.

        Raises
        ------
        ServiceStarting
            They are still loading.
        """
        if not self.loaded:
            raise ServiceStarting("The service is still loading its models.")
        return self.artifacts.models

    @property
    def sessions(self) -> Sessions:
        """The conversations in progress.

        Raises
        ------
        OnlineStoreNotJoined
            The online store was not joined yet.
        """
        if self._sessions is None:
            raise OnlineStoreNotJoined(self.store_error or "The service is still joining the online store.")
        return self._sessions

    def record_response(self, result: LookupResult, entities: Mapping[str, list[str]]) -> str:
        """Return the id of an answer that is about to leave; it is counted, and a share of them sampled."""
        self._answers += 1
        request = f"{self._run_id}-{self._answers:x}"
        self.metrics.degraded += result.degraded
        if self.samples.is_sampled():
            for key, rows in result.rows.items():
                self.samples.offer(Sample(request, result.served_us, result.applied_us, key, entities[key], rows))
        return request

    def report(self) -> Readiness:
        """Return what is served, and why not if something is not."""
        reader, writers = self.reader, self.writers
        served = self.artifacts.models.values()
        problem = self._problem()
        return {
            "ready": problem is None,
            "problem": problem,
            "models": {
                m.manifest.name: {"version": m.manifest.version, "digest": m.digest, "night": m.manifest.night}
                for m in served
            },
            "refused": dict(self.artifacts.refused),
            "views": list(self.artifacts.views.by_name) if self.artifacts.views else [],
            "online": {
                "reachable": reader.is_connected,
                "address": f"{reader.store.host}:{reader.store.port}" if reader.store else None,
                "breaker": reader.pool.breaker if reader.pool else "open",
                "applied": None if writers.applied_us is None else json_time(moment(writers.applied_us)),
                "night": str(moment(writers.cutoff_us).date()) if writers.cutoff_us else None,
            },
        }

    def _problem(self) -> str | None:
        if self._refreshing is not None and self._refreshing.done():
            return "The service no longer follows its files; restart it."
        if not self.loaded:
            return "The service is still loading."
        if self.artifacts.views is None:
            return self.artifacts.views_error
        if not self.writers.cutoff_us:
            return "The service is still looking how old what is online is."
        return None if self.reader.is_connected else self.store_error or "The online store does not answer."

    def _gauges(self) -> dict[str, tuple[str, float]]:
        pool, now = self.reader.pool, micros(self.ws.clock.now())
        breaker = pool.breaker if pool else "open"
        applied = self.writers.applied_us
        ages = {
            "nightly_age_seconds": ("Time since the cutoff of the newest night online.", self.writers.cutoff_us),
            "live_age_seconds": ("Time since the log time that the stream has applied.", applied),
        }
        return {
            "breaker_open": ("1 while reads fail at once, 0.5 while the store is probed.", BREAKER[breaker]),
            "reads_in_flight": ("Reads that wait for the store.", pool.in_flight if pool else 0),
            "reads_refused": ("Reads beyond the bulkhead since the start.", pool.refused if pool else 0),
            "samples_dropped": ("Samples for the parity meter that found no room.", self.samples.dropped),
            **{name: (meaning, max(now - at, 0) / SECOND_US) for name, (meaning, at) in ages.items() if at},
        }

    async def _keep_refreshing(self) -> None:
        while not self._stop.is_set():
            await self._rejoin_store()
            await asyncio.to_thread(self.artifacts.refresh_views)
            await asyncio.to_thread(self.artifacts.refresh_models)
            if not self.loaded:
                gc.freeze()  # what was loaded stays: the collector need not look at it again
                if self._compiled is not None:
                    self._compiled.start()
            self.loaded = True
            try:
                await asyncio.wait_for(self._stop.wait(), WATCH_SECONDS)
            except TimeoutError:
                continue

    async def _rejoin_store(self) -> None:
        """Join the store again if it does not answer: an embedded one that was killed is started by that."""
        if self.reader.is_connected:
            return
        try:
            store = await asyncio.to_thread(self._join)
        except RapportError as error:
            if not self.store_error:  # said once, not at every look
                LOG.warning("degraded", **cause_of(error))
            self.store_error = str(error)
            return
        LOG.info("online store joined")
        self.store_error = ""
        if self.reader.store != store:
            former, self.reader = self.reader, Reader(store, self.ws.clock, self.metrics, self.writers)
            self.reader.start(lambda: self.artifacts.views)
            await former.close()
            await self._rejoin_sessions(store)

    async def _rejoin_sessions(self, store: OnlineStore) -> None:
        """Keep the conversations in the store that was joined."""
        if self._compiled is not None:
            former, self._sessions = self._sessions, Sessions(store, self._compiled, clock=self.ws.clock)
            if former is not None:
                await former.close()

    def _join(self) -> OnlineStore:
        fresh = ExitStack()
        store = fresh.enter_context(online_store(self.ws))
        self._store_resources, former = fresh, self._store_resources
        former.close()
        return store

"""Reads features from the online store: one ``HMGET`` per entity, all entities in one pipeline, with a deadline.

Publishing wrote them through Feast; answers and scores are made of what is read here.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from infra.errors import Terminal, Transient
from infra.feast_form import Value, decode_time, decode_value, entity_key, feature_field, time_field
from infra.online import OnlineStore, online_store
from infra.workspace import Workspace
from serving.views import Reference, Views, load_views

ANSWER_SECONDS = 0.08
READ_SECONDS = 1.0
CONNECTIONS = 64
FAILURES = (redis.RedisError, TimeoutError, OSError)


class Reading(NamedTuple):
    """One feature of one entity as the store holds it; without an event time it is not there."""

    value: Value = None
    event_time: datetime | None = None

    @property
    def present(self) -> bool:
        """Whether the feature was published for this entity; its value may still be null."""
        return self.event_time is not None


MISSING = Reading()
Readings = Mapping[Reference, Reading]


class Layout:
    """Which hash fields a set of references needs, and how to read the answer."""

    def __init__(self, references: Sequence[Reference]) -> None:
        self.by_view: dict[str, list[Reference]] = defaultdict(list)
        for reference in references:
            self.by_view[reference.view].append(reference)
        self.fields = [
            name
            for view, wanted in self.by_view.items()
            for name in (time_field(view), *(feature_field(view, reference.feature) for reference in wanted))
        ]

    def read(self, values: Sequence[bytes | None]) -> Readings:
        """Return the readings of one entity from the values of ``fields``.

        Raises
        ------
        Terminal
            A value is not in Feast's form.
        """
        readings: dict[Reference, Reading] = {}
        rest = iter(values)
        try:
            for wanted in self.by_view.values():
                stamp = next(rest)
                moment = None if stamp is None else decode_time(stamp)
                for reference in wanted:
                    raw = next(rest)
                    readings[reference] = (
                        MISSING if raw is None or moment is None else Reading(decode_value(raw), moment)
                    )
        except ValueError as error:
            raise Terminal(
                f"The online store holds {error} where a feature should be: publish the views again."
            ) from error
        return readings


class OnlineReader:
    """An asynchronous reader of one project, bound to the event loop in which it is used."""

    def __init__(self, store: OnlineStore) -> None:
        self.store = store
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            store.url,
            max_connections=CONNECTIONS,
            timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        self._client: Any = redis.asyncio.Redis.from_pool(pool)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def read(self, key: str, entities: Sequence[str], references: Sequence[Reference]) -> dict[str, Readings]:
        """Return the readings of each entity, asked once however often it is named.

        Raises
        ------
        Transient
            The store does not answer within the deadline.
        Terminal
            A value is not in Feast's form.
        """
        layout, unique = Layout(references), list(dict.fromkeys(entities))
        if not layout.fields:
            return {entity: {} for entity in unique}
        try:
            async with asyncio.timeout(READ_SECONDS), self._client.pipeline(transaction=False) as pipe:
                for entity in unique:
                    pipe.hmget(entity_key(self.store.project, {key: ("string", entity)}), layout.fields)
                answers = await pipe.execute()
        except FAILURES as error:
            raise Transient(self._silent(error)) from error
        return {entity: layout.read(values) for entity, values in zip(unique, answers, strict=True)}

    async def answers(self) -> bool:
        """Say whether the store answers within the deadline."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                return bool(await self._client.ping())
        except FAILURES:
            return False

    def _silent(self, error: BaseException) -> str:
        return f"The online store at {self.store.host}:{self.store.port} does not answer ({type(error).__name__})."


@dataclass(frozen=True)
class Row:
    """One feature of a customer with its age, as ``rapport lookup`` prints it; absent ones have no event time."""

    view: str
    feature: str
    value: Value
    event_time: datetime | None
    age_seconds: float | None


def lookup(ws: Workspace, customer_id: str) -> list[Row]:
    """Return every published feature of a customer, with its age.

    Raises
    ------
    Rejected
        Nothing was published yet.
    Transient
        The online store does not answer.
    """
    views = load_views(ws.folder("feast"))
    wanted = [Reference(view.name, feature) for view in views.of_entity("customer") for feature in view.features]
    with online_store(ws) as store:
        readings = asyncio.run(_read_one(store, views, customer_id, wanted))
    now = ws.clock.now()
    return [
        Row(reference.view, reference.feature, reading.value, reading.event_time, age_seconds(reading, now))
        for reference, reading in readings.items()
    ]


def age_seconds(reading: Reading, now: datetime) -> float | None:
    """Return how old a reading is at ``now``, in seconds."""
    return None if reading.event_time is None else max((now - reading.event_time).total_seconds(), 0.0)


async def _read_one(store: OnlineStore, views: Views, customer_id: str, wanted: Sequence[Reference]) -> Readings:
    async with OnlineReader(store) as reader:
        return (await reader.read(views.key_of("customer"), [customer_id], wanted))[customer_id]

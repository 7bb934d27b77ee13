"""Rapport's online store for Feast, on the Redis protocol: the newest wins, statuses say what is true, nothing hangs.

A plug-in: name ``features.store.online.RapportOnlineStore`` as the type of the online store; ``repo`` does so for a
company, any other Feast repository may as well. The layout is that of Feast's own Redis store, which reads what this
one wrote and the other way round; it is kept as the base for its addresses (one server, cluster, sentinel), and what it
does with them is done here again. Beside the layout stands the packed row of ``infra.packed``, whole where every
feature is an int64, a float64 or a text, else only its beginning, which holds the order of the row.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import redis
from feast import FeatureView, RepoConfig, utils
from feast.infra.online_stores.helpers import _redis_key, _redis_key_prefix, compute_versioned_name
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig, RedisType
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64, Int64, String
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry
from redis.sentinel import Sentinel

from features.catalogue import CATALOGUE
from features.store.offline import GROUP_TAG, SERVED_TAG
from infra import online_rows
from infra.feast_form import EPOCH, decode_time, feature_field, time_field
from infra.online import CONNECT_SECONDS, OnlineStore, project_of
from infra.online_rows import Rows, RowWriter
from infra.packed import FOREVER_US, Packing, row_field

MICROSECOND = timedelta(microseconds=1)
DTYPES = {Int64: "int64", Float64: "float64", String: "string"}
NO_VERSION = "00000000"
VERSION = re.compile(r"[0-9a-f]{8}")
VALID_UNTIL = slice(20, 28)

Written = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
Told = tuple[datetime | None, dict[str, Value] | None]


class RapportOnlineStoreConfig(RedisOnlineStoreConfig):
    """Settings of the store: those of Feast's Redis store, whose ``skip_dedup`` and ``client`` do nothing here."""

    type: Literal["features.store.online.RapportOnlineStore"] = "features.store.online.RapportOnlineStore"

    timeout_seconds: float = 5.0
    """Within which the server must answer a call, or a chunk of rows; nothing is tried twice."""


@dataclass(frozen=True)
class Found:
    """What is online of one entity in one view; values of a row that is out of date are not given."""

    at: datetime | None = None
    values: dict[str, Value] | None = None
    expired: bool = False

    def status(self, feature: str) -> int:
        """Return the status of a feature."""
        if self.expired:
            return int(FieldStatus.OUTSIDE_MAX_AGE)
        if self.values is None or feature not in self.values:
            return int(FieldStatus.NOT_FOUND)
        held = self.values[feature].WhichOneof("val")
        return int(FieldStatus.NULL_VALUE if held in (None, "null_val") else FieldStatus.PRESENT)


class RapportOnlineStore(RedisOnlineStore):
    """Rows of values by entity."""

    def __init__(self) -> None:
        super().__init__()
        self._writing = threading.Lock()
        self._writer: RowWriter | None = None
        self._client: Any = None
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[Written],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows; of each entity the newest (event time, created) stays, whoever writes and in whatever order.

        Of rows without a created time the later written counts among those of one event time.
        """
        size = online_rows.chunk_rows(len(table.features))
        rows = iter(data)
        self.write(config, (_encoded(config, table, part) for part in iter(lambda: list(islice(rows, size)), [])))
        if progress:
            progress(len(data))

    def write(self, config: RepoConfig, chunks: Iterable[Rows]) -> online_rows.Written:
        """Write encoded rows."""
        with self._writing:
            if self._writer is None:
                settings = config.online_store
                self._writer = RowWriter(
                    self.address(config),
                    seconds=settings.timeout_seconds,
                    ttl_seconds=settings.key_ttl_seconds or 0,
                )
            return self._writer.put(chunks)

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[Written],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows, in a thread: encoding them is work of the processor."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[Told]:
        """Return event time and values of each entity; nothing where there is no row or it is out of date."""
        asked = Asked.of(config, table, requested_features)
        (found,) = self._found(config, [(asked, entity_keys)])
        return [_told(one) for one in found]

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[Told]:
        """Return what ``online_read`` does."""
        asked = Asked.of(config, table, requested_features)
        (found,) = await self._found_async(config, [(asked, entity_keys)])
        return [_told(one) for one in found]

    def _read_features_per_fv(
        self,
        config: RepoConfig,
        grouped_refs: Sequence[tuple[FeatureView, list[str]]],
        join_key_values: Any,
        entity_name_to_join_key_map: Any,
        online_features_response: Any,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        people = [_people(table, join_key_values, entity_name_to_join_key_map) for table, _ in grouped_refs]
        asked = [Asked.of(config, *one) for one in grouped_refs]
        answers = self._found(config, [(one, who.keys) for one, who in zip(asked, people, strict=True)])
        for one, who, found in zip(asked, people, answers, strict=True):
            _respond(
                online_features_response, one, who, found, full_feature_names, include_feature_view_version_metadata
            )

    async def _read_features_per_fv_async(
        self,
        config: RepoConfig,
        grouped_refs: Sequence[tuple[FeatureView, list[str]]],
        join_key_values: Any,
        entity_name_to_join_key_map: Any,
        online_features_response: Any,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        people = [_people(table, join_key_values, entity_name_to_join_key_map) for table, _ in grouped_refs]
        asked = [Asked.of(config, *one) for one in grouped_refs]
        answers = await self._found_async(config, [(one, who.keys) for one, who in zip(asked, people, strict=True)])
        for one, who, found in zip(asked, people, answers, strict=True):
            _respond(
                online_features_response, one, who, found, full_feature_names, include_feature_view_version_metadata
            )

    def delete_table(self, config: RepoConfig, table: FeatureView) -> None:
        """Remove the rows of a view; an entity of which nothing else is known goes with them."""
        client = self._get_client(config.online_store)
        name = compute_versioned_name(table, config.registry.enable_online_feature_view_versioning)
        mine = [time_field(name), row_field(name), *(feature_field(name, field.name) for field in table.features)]
        for keys in _batches(self._keys(config, table.join_keys)):
            held = _pipelined(client, [("HKEYS", key) for key in keys])
            others = [{field for field in fields if field.startswith(b"_ts:")} - {mine[0]} for fields in held]
            known = [mine[0] in fields for fields in held]
            _pipelined(
                client,
                [
                    ("HDEL", key, *mine) if left else ("DEL", key)
                    for key, left, there in zip(keys, others, known, strict=True)
                    if there
                ],
            )

    def delete_entity_values(self, config: RepoConfig, join_keys: list[str]) -> None:
        """Remove everything of the entities with some join keys."""
        client = self._get_client(config.online_store)
        for keys in _batches(self._keys(config, join_keys)):
            _pipelined(client, [("DEL", key) for key in keys])

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Any]) -> None:
        """Remove everything of the tables' entities and close the connections."""
        super().teardown(config, tables, entities)
        with self._writing:
            if self._writer:
                self._writer.close()
            self._writer = None

    async def close(self) -> None:
        """Close the connections of this event loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def address(self, config: RepoConfig) -> OnlineStore:
        """Return where rows are written: the server, the cluster by one of its nodes, or sentinel's present master."""
        settings = config.online_store
        nodes, options = self._parse_connection_string(settings.connection_string)
        host, port = nodes[0]["host"], int(nodes[0]["port"])
        if settings.redis_type == RedisType.redis_sentinel:
            host, port = self._sentinel(settings).discover_master(settings.sentinel_master)  # type: ignore[no-untyped-call]
        secret = options.get("password")
        return OnlineStore(
            host,
            port,
            config.project,
            options.get("username"),
            None if secret is None else str(secret),
            int(options.get("db", 0)),
            bool(options.get("ssl", False)),
            settings.redis_type == RedisType.redis_cluster,
        )

    def client(self, config: RepoConfig) -> Any:
        """Return a client of the server."""
        return self._get_client(config.online_store)

    def _get_client(self, online_store_config: RapportOnlineStoreConfig) -> Any:
        """Return the client, whose every call ends in time and is made once."""
        if self._client is None:
            nodes, options = self._options(online_store_config, Retry(NoBackoff(), 0))
            if online_store_config.redis_type == RedisType.redis_cluster:
                startup = [ClusterNode(**node) for node in nodes]  # type: ignore[no-untyped-call]
                self._client = redis.RedisCluster(startup_nodes=startup, **options)
            elif online_store_config.redis_type == RedisType.redis_sentinel:
                name = online_store_config.sentinel_master
                self._client = self._sentinel(online_store_config).master_for(name, **options)  # type: ignore[no-untyped-call]
            else:
                self._client = redis.Redis(**nodes[0], **options)
        return self._client

    async def _get_client_async(self, online_store_config: RapportOnlineStoreConfig) -> Any:
        """Return the client of the running event loop; Feast's own stays with the loop of its first call."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            nodes, options = self._options(online_store_config, AsyncRetry(NoBackoff(), 0))
            if online_store_config.redis_type == RedisType.redis_cluster:
                startup = [aioredis.cluster.ClusterNode(**node) for node in nodes]
                self._clients[loop] = aioredis.RedisCluster(startup_nodes=startup, **options)
            elif online_store_config.redis_type == RedisType.redis_sentinel:
                hosts = [(node["host"], node["port"]) for node in nodes]
                sentinel = aioredis.Sentinel(hosts, **options)  # type: ignore[no-untyped-call]
                self._clients[loop] = sentinel.master_for(online_store_config.sentinel_master, **options)
            else:
                self._clients[loop] = aioredis.Redis(**nodes[0], **options)
        return self._clients[loop]

    def _sentinel(self, settings: RapportOnlineStoreConfig) -> Sentinel:
        nodes, options = self._options(settings, Retry(NoBackoff(), 0))
        hosts = [(node["host"], node["port"]) for node in nodes]
        return Sentinel(hosts, **options)  # type: ignore[no-untyped-call]

    def _options(self, settings: RapportOnlineStoreConfig, retry: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        nodes, options = self._parse_connection_string(settings.connection_string)
        seconds = settings.timeout_seconds
        told = {"socket_timeout": seconds, "socket_connect_timeout": min(seconds, CONNECT_SECONDS), "retry": retry}
        return [{"host": node["host"], "port": int(node["port"])} for node in nodes], options | told

    def _found(self, config: RepoConfig, asked: Sequence[tuple["Asked", list[EntityKey]]]) -> list[list[Found]]:
        """Return what is online of the entities of each view, all in one go."""
        client = self._get_client(config.online_store)
        try:
            return _sorted(asked, _pipelined(client, _commands(config, asked)))
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise self.address(config).silent(error) from error

    async def _found_async(
        self, config: RepoConfig, asked: Sequence[tuple["Asked", list[EntityKey]]]
    ) -> list[list[Found]]:
        client = await self._get_client_async(config.online_store)
        try:
            async with client.pipeline(transaction=False) as pipe:
                for command in _commands(config, asked):
                    pipe.execute_command(*command)
                return _sorted(asked, await pipe.execute())
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise self.address(config).silent(error) from error

    def _keys(self, config: RepoConfig, join_keys: Sequence[str]) -> Iterator[bytes]:
        """Yield the keys of this project's entities with some join keys; of no project whose name ends like it."""
        client = self._get_client(config.online_store)
        prefix, project = _redis_key_prefix(list(join_keys)), config.project.encode()
        pattern = re.sub(rb"([*?\[\]\\])", rb"\\\1", prefix) + b"*"
        return (key for key in client.scan_iter(pattern, count=1000) if project_of(key) == project)


@dataclass(frozen=True)
class Asked:
    """What is asked of one view."""

    view: FeatureView
    name: str
    features: list[str]
    live: bool

    @classmethod
    def of(cls, config: RepoConfig, view: FeatureView, features: Sequence[str] | None) -> "Asked":
        """Return the question for some features of a view, or all."""
        name = compute_versioned_name(view, config.registry.enable_online_feature_view_versioning)
        asked = list(features or (field.name for field in view.features))
        return cls(view, name, asked, (view.tags or {}).get(SERVED_TAG) == "live")

    @property
    def fields(self) -> list[bytes]:
        """The hash fields to read."""
        times = [time_field(self.name), *([row_field(self.name)] if self.live else [])]
        return [*times, *(feature_field(self.name, feature) for feature in self.features)]

    def found(self, held: Sequence[bytes | None]) -> Found:
        """Return what the fields hold."""
        stamp, *rest = held
        if stamp is None:
            return Found()
        at, now = decode_time(stamp), datetime.now(UTC)
        if self.view.ttl and now - at > self.view.ttl:
            return Found(at, expired=True)
        if self.live:
            row, *rest = rest
            until = int.from_bytes((row or b"")[VALID_UNTIL], "little") if row else FOREVER_US
            if until <= (now - EPOCH) // MICROSECOND:
                return Found(at, expired=True)
        values = zip(self.features, rest, strict=True)
        return Found(at, {name: Value.FromString(raw) for name, raw in values if raw is not None})


@dataclass(frozen=True)
class People:
    """The entities that are asked about, each once, and which rows of the answer are theirs."""

    keys: list[EntityKey]
    rows: Sequence[list[int]]
    length: int


def packing_of(view: FeatureView) -> Packing | None:
    """Return how the rows of a view are packed; not at all if a feature is of another type.

    Feast does not keep the order in which features were declared, so it is that of the catalogue for a group's view,
    and by name for any other. A view of a definition that the catalogue no longer has is not packed.
    """
    tags, dtypes = view.tags or {}, {field.name: DTYPES.get(field.dtype) for field in view.features}
    version, names = tags.get("version", NO_VERSION), sorted(dtypes)
    if GROUP_TAG in tags:
        group = next((one for one in CATALOGUE if (one.name, one.version) == (tags[GROUP_TAG], version)), None)
        names = [feature.name for feature in group.outputs] if group else []
    if sorted(names) != sorted(dtypes) or None in dtypes.values():
        return None
    return Packing({name: str(dtypes[name]) for name in names}, version if VERSION.fullmatch(version) else NO_VERSION)


def micros(moment: datetime) -> int:
    """Return a moment in microseconds since the epoch; one without a zone is UTC."""
    return int((utils.make_tzaware(moment) - EPOCH) // MICROSECOND)


def _encoded(config: RepoConfig, table: FeatureView, data: Sequence[Written]) -> Rows:
    """Return rows of Feast's values as the writer takes them; a feature that a row lacks has no value in it."""
    name = compute_versioned_name(table, config.registry.enable_online_feature_view_versioning)
    version, packing, absent = config.entity_key_serialization_version, packing_of(table), Value()
    names = packing.names if packing else tuple(field.name for field in table.features)
    event = np.array([micros(at) for *_, at, _ in data], np.int64)
    known = np.array([micros(made or at) for *_, at, made in data], np.int64)
    columns = [[row.get(feature, absent) for _, row, *_ in data] for feature in names]
    return Rows(
        online_rows.binary([_redis_key(config.project, key, version) for key, *_ in data]),
        (row_field(name), _marks(packing, columns, event, known)),
        (time_field(name), online_rows.stamps(event)),
        [feature_field(name, feature) for feature in names],
        [online_rows.binary([value.SerializeToString() for value in column]) for column in columns],
        replace=any(made is None for *_, made in data),
    )


def _marks(packing: Packing | None, columns: list[list[Value]], event: Any, known: Any) -> list[pa.Array]:
    if packing is None:
        return [online_rows.marks(event, known)]
    plain = [
        pa.array([_plain(value) for value in column], kind)
        for column, kind in zip(columns, _kinds(packing), strict=True)
    ]
    return online_rows.packed(packing, plain, event, known, np.full(len(event), FOREVER_US))


def _kinds(packing: Packing) -> list[pa.DataType]:
    return [online_rows.ARROW[dtype] for dtype in packing.dtypes]


def _plain(value: Value) -> Any:
    held = value.WhichOneof("val")
    return None if held in (None, "null_val") else getattr(value, held)


def _told(found: Found) -> Told:
    return (None, None) if found.values is None else (found.at, found.values)


def _people(table: FeatureView, join_key_values: Any, names: Any) -> People:
    values, rows, length = utils._get_unique_entities(table, join_key_values, names)
    return People(utils._get_entity_key_protos(values), tuple(rows), length)


def _respond(response: Any, asked: Asked, who: People, found: list[Found], full: bool, versions: bool) -> None:
    """Put what was found into Feast's answer, with statuses that Feast alone would not tell."""
    given = [
        (one.at, {feature: (one.values or {}).get(feature, Value()) for feature in asked.features}) for one in found
    ]
    utils._populate_response_from_feature_data(
        asked.features, given, who.rows, response, full, asked.view, who.length, versions
    )
    for feature, vector in zip(asked.features, response.results[-len(asked.features) :], strict=True):
        for one, rows in zip(found, who.rows, strict=True):
            for row in rows:
                vector.statuses[row] = one.status(feature)


def _commands(config: RepoConfig, asked: Sequence[tuple[Asked, list[EntityKey]]]) -> list[tuple[Any, ...]]:
    version = config.entity_key_serialization_version
    return [
        ("HMGET", _redis_key(config.project, key, version), *fields)
        for one, keys in asked
        for fields in (one.fields,)
        for key in keys
    ]


def _sorted(asked: Sequence[tuple[Asked, list[EntityKey]]], answers: Iterable[Any]) -> list[list[Found]]:
    held = iter(answers)
    return [[one.found(next(held)) for _ in keys] for one, keys in asked]


def _batches(keys: Iterable[bytes], size: int = 1000) -> Iterator[list[bytes]]:
    rest = iter(keys)
    return iter(lambda: list(islice(rest, size)), [])


def _pipelined(client: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    with client.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        return list(pipe.execute())

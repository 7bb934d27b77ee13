"""Rapport's online store for Feast, on the Redis protocol: the newest wins, statuses say what is true, nothing hangs.

A plug-in: name ``rapport_feast.online.RapportOnlineStore`` as the type of the online store; ``repo`` does so for a
company, any other Feast repository may as well. The layout is that of Feast's own Redis store, which reads what this
one wrote and the other way round; it is kept as the base for its addresses (one server, cluster, sentinel), and what it
does with them is done here again. Beside the layout stands the packed row of ``rapport_feast.row.layout``, whole where
every feature is an int64, a float64 or a text, else only its beginning, which holds the order of the row.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal
from weakref import WeakKeyDictionary

import redis
from feast import FeatureView, RepoConfig
from feast.infra.online_stores.helpers import _redis_key_prefix, compute_versioned_name
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig, RedisType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry
from redis.sentinel import Sentinel

from rapport_feast.online_read import (
    EntityRow,
    FeastRow,
    ViewRead,
    feast_row,
    fill_response,
    read_commands,
    requested_entities,
    rows_by_view,
)
from rapport_feast.online_write import FeastWrite, encode_feast_rows
from rapport_feast.row import encoding, writer
from rapport_feast.row.address import CONNECT_SECONDS, OnlineStore
from rapport_feast.row.encoding import EncodedRows
from rapport_feast.row.keys import feature_field, project_of, row_field, time_field
from rapport_feast.row.writer import RowWriter


class RapportOnlineStoreConfig(RedisOnlineStoreConfig):
    """Settings of the store: those of Feast's Redis store, whose ``skip_dedup`` and ``client`` do nothing here."""

    type: Literal["rapport_feast.online.RapportOnlineStore"] = "rapport_feast.online.RapportOnlineStore"

    timeout_seconds: float = 5.0
    """Within which the server must answer a call, or a chunk of rows; nothing is tried twice."""


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
        data: list[FeastWrite],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows; of each entity the newest (event time, created) stays, whoever writes and in whatever order.

        Of rows without a created time the later written counts among those of one event time.
        """
        size = encoding.chunk_rows(len(table.features))
        rows = iter(data)
        parts = iter(lambda: list(islice(rows, size)), [])
        self.write(config, (encode_feast_rows(config, table, part) for part in parts))
        if progress:
            progress(len(data))

    def write(self, config: RepoConfig, chunks: Iterable[EncodedRows]) -> writer.WriteResult:
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
        data: list[FeastWrite],
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
    ) -> list[FeastRow]:
        """Return event time and values of each entity; nothing where there is no row or it is out of date."""
        read = ViewRead.of(config, table, requested_features)
        (found,) = self._found(config, [(read, entity_keys)])
        return [feast_row(one) for one in found]

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[FeastRow]:
        """Return what ``online_read`` does."""
        read = ViewRead.of(config, table, requested_features)
        (found,) = await self._found_async(config, [(read, entity_keys)])
        return [feast_row(one) for one in found]

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
        requested = [
            requested_entities(table, join_key_values, entity_name_to_join_key_map) for table, _ in grouped_refs
        ]
        reads = [ViewRead.of(config, *one) for one in grouped_refs]
        answers = self._found(config, [(read, entities.keys) for read, entities in zip(reads, requested, strict=True)])
        for read, entities, found in zip(reads, requested, answers, strict=True):
            fill_response(
                online_features_response,
                read,
                entities,
                found,
                full_feature_names,
                include_feature_view_version_metadata,
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
        requested = [
            requested_entities(table, join_key_values, entity_name_to_join_key_map) for table, _ in grouped_refs
        ]
        reads = [ViewRead.of(config, *one) for one in grouped_refs]
        answers = await self._found_async(
            config, [(read, entities.keys) for read, entities in zip(reads, requested, strict=True)]
        )
        for read, entities, found in zip(reads, requested, answers, strict=True):
            fill_response(
                online_features_response,
                read,
                entities,
                found,
                full_feature_names,
                include_feature_view_version_metadata,
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
        limits = {"socket_timeout": seconds, "socket_connect_timeout": min(seconds, CONNECT_SECONDS), "retry": retry}
        return [{"host": node["host"], "port": int(node["port"])} for node in nodes], options | limits

    def _found(self, config: RepoConfig, reads: Sequence[tuple[ViewRead, list[EntityKey]]]) -> list[list[EntityRow]]:
        """Return what is online of the entities of each view, all in one go."""
        client = self._get_client(config.online_store)
        try:
            return rows_by_view(reads, _pipelined(client, read_commands(config, reads)))
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise self.address(config).silent(error) from error

    async def _found_async(
        self, config: RepoConfig, reads: Sequence[tuple[ViewRead, list[EntityKey]]]
    ) -> list[list[EntityRow]]:
        client = await self._get_client_async(config.online_store)
        try:
            async with client.pipeline(transaction=False) as pipe:
                for command in read_commands(config, reads):
                    pipe.execute_command(*command)
                return rows_by_view(reads, await pipe.execute())
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise self.address(config).silent(error) from error

    def _keys(self, config: RepoConfig, join_keys: Sequence[str]) -> Iterator[bytes]:
        """Yield the keys of this project's entities with some join keys; of no project whose name ends like it."""
        client = self._get_client(config.online_store)
        prefix, project = _redis_key_prefix(list(join_keys)), config.project.encode()
        pattern = re.sub(rb"([*?\[\]\\])", rb"\\\1", prefix) + b"*"
        return (key for key in client.scan_iter(pattern, count=1000) if project_of(key) == project)


def _batches(keys: Iterable[bytes], size: int = 1000) -> Iterator[list[bytes]]:
    rest = iter(keys)
    return iter(lambda: list(islice(rest, size)), [])


def _pipelined(client: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    with client.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        return list(pipe.execute())

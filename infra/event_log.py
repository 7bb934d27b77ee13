"""The event log: what was accepted, in the order and at the moment in which it was (rule T1).

Redis Streams by default, in a Valkey of its own or at a URL; Kafka by URL (``infra/kafka.py``). Intake and connectors
append, the stream runner and the nightly ingest read. An entry that was acknowledged is on disk: see ``RedisLog``.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.clock import Clock
from infra.embedded import Address, embedded_server
from infra.errors import Rejected, Transient
from infra.workspace import Workspace

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
MAX_ENTRIES = 5_000_000
"""Untrimmed entries beyond which nothing more is accepted: nobody drains the log, and it must not fill the machine."""
MAX_PAYLOAD_BYTES = 16_000_000
SEQUENCE_BITS = 10

SETTING = "RAPPORT_LOG_URL"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """An accepted event.

    Attributes
    ----------
    position
        Its place in the log; strictly increasing.
    accepted_us
        When it was accepted, in microseconds since 1970; strictly increasing, so that a moment parts the log.
    source
        Name of the source that it claims to be of.
    payload
        The bytes as they came; a JSON object, if all is well.
    """

    position: int
    accepted_us: int
    source: str
    payload: bytes = field(repr=False)


class EventLog(Protocol):
    """A log of entries. Whatever is silent beyond its deadline raises ``Transient``; nothing is tried twice."""

    def append(self, source: str, payloads: Sequence[bytes]) -> list[int]:
        """Append events of a source; returns their positions once they are durable.

        A ``Transient`` leaves open whether they are in the log: append them again, their event ids make them one.
        """
        ...

    def read(self, after: int, count: int = 1000, wait_seconds: float = 0.0) -> list[Entry]:
        """Return up to ``count`` entries behind a position (0: from the start), waiting for the first if there is none.

        May be fewer than there are; none only if there were none.
        """
        ...

    def end(self) -> tuple[int, int] | None:
        """Return position and moment of the newest entry; None if the log holds none."""
        ...

    def since(self, accepted_us: int) -> int:
        """Return the position after which exactly the entries accepted later than a moment stand."""
        ...

    def seal(self, through_us: int) -> None:
        """See to it that nothing is accepted at or before a moment any more, whatever the clocks of appenders say."""
        ...

    def trim(self, before_us: int) -> int:
        """Drop the entries accepted before a moment, none that a group has not committed; returns how many went."""
        ...

    def length(self) -> int:
        """Return how many entries the log holds."""
        ...

    def commit(self, group: str, position: int) -> None:
        """Note how far a group has applied the log; never falls."""
        ...

    def committed(self, group: str) -> int:
        """Return how far a group has applied the log; 0 if it never said."""
        ...

    def lag(self, group: str) -> int:
        """Return how many entries a group has not committed."""
        ...

    def forget(self, group: str) -> None:
        """Drop a group, which then holds no entry back any more."""
        ...

    def close(self) -> None:
        """Leave the log."""
        ...


def micros(moment: datetime) -> int:
    """Return a moment as microseconds since 1970.

    Examples
    --------
    >>> micros(datetime(1970, 1, 2, tzinfo=UTC))
    86400000000
    """
    return (moment - EPOCH) // MICROSECOND


@contextmanager
def event_log(ws: Workspace, *, max_entries: int = MAX_ENTRIES) -> Iterator[EventLog]:
    """Join the event log of the settings, or start or join the embedded one; the last one out shuts that down.

    Raises
    ------
    Rejected
        ``RAPPORT_LOG_URL`` is no address of a log, or the server there does not keep what it accepts.
    Transient
        The server does not answer in time.
    Terminal
        The embedded server does not run on this machine.
    """
    url = ws.settings.log_url
    if url is None:
        with embedded_server(ws.folder("log"), appendfsync="always") as address:
            yield from _joined(RedisLog(embedded(address), ws.company.name, ws.clock, max_entries))
    elif url.startswith("kafka://"):
        from infra.kafka import kafka_log  # librdkafka comes with it

        yield from _joined(kafka_log(url, ws.company.name, ws.clock, max_entries))
    else:
        yield from _joined(redis_log(url, ws.company.name, ws.clock, max_entries))


def _joined(log: EventLog) -> Iterator[EventLog]:
    try:
        yield log
    finally:
        log.close()


def embedded(address: Address) -> redis.Redis:
    """Return a client of the embedded log."""
    return _client(host="127.0.0.1", port=address.port, password=address.password)


def redis_log(url: str, company: str, clock: Clock, max_entries: int = MAX_ENTRIES) -> "RedisLog":
    """Return the log at a Redis URL, once the server has answered and shown that it keeps what it accepts.

    Raises
    ------
    Rejected
        It is no such URL, the server refuses us, or it has no append-only file or no way to say when that is on disk.
    Transient
        The server does not answer.
    """
    try:
        parts: dict[str, Any] = redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise Rejected(SETTING, "a URL such as redis://host:6379/0 or kafka://host:9092", str(error)) from None
    if not parts.get("host"):
        raise Rejected(SETTING, "a URL such as redis://host:6379/0 or kafka://host:9092", "one without a host")
    parts.pop("connection_class", None)
    client = _client(**parts, ssl=url.startswith("rediss"))
    return RedisLog(client, company, clock, max_entries, waits=_must_wait(client))


def _client(**options: Any) -> redis.Redis:
    return redis.Redis(
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        **options,
    )


def _must_wait(client: redis.Redis) -> bool:
    """Say whether each append has to wait for the disk by itself, or the server's reply already means that.

    Raises
    ------
    Rejected
        The server keeps nothing, does not say so, or cannot be waited for.
    """
    remedy = "Set appendonly yes on the server, and appendfsync always where it is older than Redis 7.2."
    with _answering(client):
        try:
            kept: Any = client.info("persistence")
            if not kept["aof_enabled"]:
                raise Rejected(SETTING, "a server that keeps what it accepts", "appendonly no", remedy)
            about: Any = client.info("server")
        except redis.ResponseError as error:
            raise Rejected(SETTING, "a server that tells us INFO", str(error)) from None
        try:
            policy: Any = client.config_get("appendfsync")
            if policy["appendfsync"] == "always":
                return False
        except (redis.ResponseError, KeyError):
            pass  # a managed server does not tell: then each append asks for the disk
        version = str(about["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < (7, 2):
            raise Rejected(SETTING, "a server whose acceptance is durable", f"Redis {version}, everysec", remedy)
        return True


@contextmanager
def _answering(client: redis.Redis) -> Iterator[None]:
    try:
        yield
    except redis.AuthenticationError as error:
        raise Rejected(SETTING, "an address that lets us in", str(error)) from None
    except (redis.ConnectionError, redis.TimeoutError) as error:
        where = client.get_connection_kwargs()
        raise Transient(f"The event log at {where['host']}:{where['port']} does not answer ({error}).") from error
    except redis.OutOfMemoryError as error:
        raise Transient("The event log is out of memory: it takes no more until a night is published.") from error
    except redis.ResponseError as error:
        raise Transient(f"The event log refuses a command ({error}).") from error


# The moment always grows, whichever clock an appender has: what is known at a moment is a beginning of the log.
APPEND = """
local last_us, held = 0, 0
local found = redis.pcall('XINFO', 'STREAM', KEYS[1])
if not found.err then
    for i = 1, #found, 2 do
        if found[i] == 'last-generated-id' then
            local us, seq = string.match(found[i + 1], '(%d+)-(%d+)')
            last_us = tonumber(us)
        elseif found[i] == 'length' then held = found[i + 1] end
    end
end
if held + #ARGV - 3 > tonumber(ARGV[2]) then return redis.error_reply('LOGFULL ' .. held) end
local ids = {}
for i = 4, #ARGV do
    local us, seq = tonumber(ARGV[1]), 0
    if us <= last_us then us = last_us + 1 end
    local id = string.format('%.0f-%d', us, seq)
    redis.call('XADD', KEYS[1], id, 's', ARGV[3], 'p', ARGV[i])
    last_us, ids[#ids + 1] = us, id
end
return ids
"""
SEAL = """
local us = tonumber(ARGV[1])
local found = redis.pcall('XINFO', 'STREAM', KEYS[1])
if found.err then
    redis.call('XADD', KEYS[1], ARGV[1] .. '-0', 's', '', 'p', '')
    redis.call('XDEL', KEYS[1], ARGV[1] .. '-0')
    return 1
end
for i = 1, #found, 2 do
    if found[i] == 'last-generated-id' and tonumber(string.match(found[i + 1], '%d+')) < us then
        redis.call('XSETID', KEYS[1], ARGV[1] .. '-0')
        return 1
    end
end
return 0
"""
COMMIT = """
local before = redis.call('HGET', KEYS[1], ARGV[1])
if not before or before < ARGV[2] then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return 1
"""


class RedisLog:
    """One stream of a Redis or Valkey server: ``log:{company}``, and the groups in a hash beside it.

    An append returns when it is on the server's disk. The embedded server and any server with ``appendfsync always``
    reply only then; at another (``everysec``, or one that does not tell) each append waits with ``WAITAOF``, which
    takes up to a second there.
    """

    def __init__(
        self, client: redis.Redis, company: str, clock: Clock, max_entries: int = MAX_ENTRIES, *, waits: bool = False
    ) -> None:
        self.key, self.groups = f"log:{{{company}}}", f"log:{{{company}}}:groups"
        self._client, self._clock, self._max_entries, self._waits = client, clock, max_entries, waits
        self._append, self._seal, self._commit = (client.register_script(script) for script in (APPEND, SEAL, COMMIT))

    def append(self, source: str, payloads: Sequence[bytes]) -> list[int]:
        """Append events of a source; returns their positions once they are durable.

        Raises
        ------
        Rejected
            An event is larger than the log takes.
        Transient
            The server does not answer, or holds all that it may.
        """
        if not payloads:
            return []
        refuse_large(payloads)
        arguments: list[Any] = [micros(self._clock.now()), self._max_entries, source, *payloads]
        with _answering(self._client), self._client.pipeline(transaction=False) as pipe:
            self._append(keys=[self.key], args=arguments, client=pipe)
            if self._waits:
                pipe.execute_command("WAITAOF", 1, 0, int(ANSWER_SECONDS * 900))  # type: ignore[no-untyped-call]
            ids, *waited = pipe.execute(raise_on_error=False)  # what it would raise quotes the events
            if isinstance(ids, Exception):
                raise full(self._max_entries) if str(ids).startswith("LOGFULL") else ids
        if waited and (isinstance(waited[0], Exception) or waited[0][0] < 1):
            raise Transient("The event log accepted events and did not bring them to disk in time.")
        return [position_of(found) for found in ids]

    def read(self, after: int, count: int = 1000, wait_seconds: float = 0.0) -> list[Entry]:
        """Return up to ``count`` entries behind a position, waiting for the first if there is none."""
        left = wait_seconds
        while True:
            block = min(left, ANSWER_SECONDS / 2)
            with _answering(self._client):
                found: Any = self._client.xread(
                    {self.key: id_of(after)}, count=count, block=max(int(block * 1000), 1) if left > 0 else None
                )
            left -= block
            if found or left <= 0:
                return [entry_of(*one) for one in found[0][1]] if found else []

    def end(self) -> tuple[int, int] | None:
        """Return position and moment of the newest entry; None if the log holds none."""
        with _answering(self._client):
            newest: Any = self._client.xrevrange(self.key, count=1)
        return (entry.position, entry.accepted_us) if newest and (entry := entry_of(*newest[0])) else None

    def since(self, accepted_us: int) -> int:
        """Return the position after which exactly the entries accepted later than a moment stand."""
        return ((accepted_us + 1) << SEQUENCE_BITS) - 1 if accepted_us > 0 else 0

    def seal(self, through_us: int) -> None:
        """See to it that nothing is accepted at or before a moment any more."""
        with _answering(self._client):
            self._seal(keys=[self.key], args=[through_us + 1])

    def trim(self, before_us: int) -> int:
        """Drop the entries accepted before a moment, none that a group has not committed; returns how many went."""
        with _answering(self._client):
            groups: Any = self._client.hvals(self.groups)
            first = min([before_us << SEQUENCE_BITS, *(int(position) + 1 for position in groups)])
            gone: Any = self._client.xtrim(self.key, minid=id_of(first), approximate=False)
        return int(gone)

    def length(self) -> int:
        """Return how many entries the log holds."""
        with _answering(self._client):
            length: Any = self._client.xlen(self.key)
        return int(length)

    def commit(self, group: str, position: int) -> None:
        """Note how far a group has applied the log; never falls."""
        with _answering(self._client):
            self._commit(keys=[self.groups], args=[group, f"{position:020d}"])

    def committed(self, group: str) -> int:
        """Return how far a group has applied the log; 0 if it never said."""
        with _answering(self._client):
            found: Any = self._client.hget(self.groups, group)
        return int(found or 0)

    def lag(self, group: str) -> int:
        """Return how many entries a group has not committed; counted one by one, so keep it for monitoring."""
        behind, after, page = 0, self.committed(group), 10_000
        while True:
            with _answering(self._client):
                found: Any = self._client.xrange(self.key, f"({id_of(after)}", "+", count=page)
            behind += len(found)
            if len(found) < page:
                return behind
            after = position_of(found[-1][0])

    def forget(self, group: str) -> None:
        """Drop a group, which then holds no entry back any more."""
        with _answering(self._client):
            self._client.hdel(self.groups, group)

    def close(self) -> None:
        """Leave the log."""
        self._client.close()


def refuse_large(payloads: Sequence[bytes]) -> None:
    """Refuse events that no log takes.

    Raises
    ------
    Rejected
        One is larger.
    """
    if (largest := max(map(len, payloads))) > MAX_PAYLOAD_BYTES:
        raise Rejected("event", f"at most {MAX_PAYLOAD_BYTES:,} bytes", f"{largest:,}")


def full(entries: int) -> Transient:
    """Return the error of a log that holds all that it may."""
    return Transient(f"The event log holds {entries:,} entries and takes no more until a night is published.")


def position_of(found: bytes) -> int:
    """Return the position of an entry's id in the stream.

    Examples
    --------
    >>> position_of(b"5-3"), id_of(5123)
    (5123, '5-3')
    """
    moment, _, number = found.partition(b"-")
    return (int(moment) << SEQUENCE_BITS) | int(number)


def id_of(position: int) -> str:
    """Return the id in the stream of a position."""
    return f"{position >> SEQUENCE_BITS}-{position & ((1 << SEQUENCE_BITS) - 1)}"


def entry_of(found: bytes, fields: dict[bytes, bytes]) -> Entry:
    """Return an entry of the stream; one that somebody else wrote may lack what ours have."""
    source = fields.get(b"s", b"").decode("utf-8", "replace")
    return Entry(position_of(found), int(found.partition(b"-")[0]), source, fields.get(b"p", b""))

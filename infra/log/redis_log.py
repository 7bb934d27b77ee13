"""The event log as one stream of a Redis or Valkey server."""

from collections.abc import Sequence
from typing import Any

import redis

from infra.clock import Clock
from infra.log.event_log import ANSWER_SECONDS, MAX_ENTRIES, SETTING, Entry, log_full, refuse_large_events
from infra.log.redis_client import answering, log_client, must_wait_for_disk
from infra.log.redis_scripts import APPEND, COMMIT, SEAL
from infra.redis.address import Address
from rapport_feast.errors import Rejected, Transient
from rapport_feast.times import micros

SEQUENCE_BITS = 10


def embedded_client(address: Address) -> redis.Redis:
    """Return a client of the embedded log."""
    return log_client(host="127.0.0.1", port=address.port, password=address.password)


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
    client = log_client(**parts, ssl=url.startswith("rediss"))
    return RedisLog(client, company, clock, max_entries, waits=must_wait_for_disk(client))


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
        refuse_large_events(payloads)
        arguments: list[Any] = [micros(self._clock.now()), self._max_entries, source, *payloads]
        with answering(self._client), self._client.pipeline(transaction=False) as pipe:
            self._append(keys=[self.key], args=arguments, client=pipe)
            if self._waits:
                pipe.execute_command("WAITAOF", 1, 0, int(ANSWER_SECONDS * 900))  # type: ignore[no-untyped-call]
            ids, *waited = pipe.execute(raise_on_error=False)  # what it would raise quotes the events
            if isinstance(ids, Exception):
                raise log_full(self._max_entries) if str(ids).startswith("LOGFULL") else ids
        if waited and (isinstance(waited[0], Exception) or waited[0][0] < 1):
            raise Transient("The event log accepted events and did not bring them to disk in time.")
        return [position_of(found) for found in ids]

    def read(self, after: int, count: int = 1000, wait_seconds: float = 0.0) -> list[Entry]:
        """Return up to ``count`` entries behind a position, waiting for the first if there is none."""
        left = wait_seconds
        while True:
            block = min(left, ANSWER_SECONDS / 2)
            with answering(self._client):
                found: Any = self._client.xread(
                    {self.key: id_of(after)}, count=count, block=max(int(block * 1000), 1) if left > 0 else None
                )
            left -= block
            if found or left <= 0:
                return [entry_of(*one) for one in found[0][1]] if found else []

    def end(self) -> tuple[int, int] | None:
        """Return position and moment of the newest entry; None if the log holds none."""
        with answering(self._client):
            newest: Any = self._client.xrevrange(self.key, count=1)
        return (entry.position, entry.accepted_us) if newest and (entry := entry_of(*newest[0])) else None

    def since(self, accepted_us: int) -> int:
        """Return the position after which exactly the entries accepted later than a moment stand."""
        return ((accepted_us + 1) << SEQUENCE_BITS) - 1 if accepted_us > 0 else 0

    def seal(self, through_us: int) -> None:
        """See to it that nothing is accepted at or before a moment any more."""
        with answering(self._client):
            self._seal(keys=[self.key], args=[through_us + 1])

    def trim(self, before_us: int) -> int:
        """Drop the entries accepted before a moment, none that a group has not committed; returns how many went."""
        with answering(self._client):
            groups: Any = self._client.hvals(self.groups)
            first = min([before_us << SEQUENCE_BITS, *(int(position) + 1 for position in groups)])
            gone: Any = self._client.xtrim(self.key, minid=id_of(first), approximate=False)
        return int(gone)

    def length(self) -> int:
        """Return how many entries the log holds."""
        with answering(self._client):
            length: Any = self._client.xlen(self.key)
        return int(length)

    def commit(self, group: str, position: int) -> None:
        """Note how far a group has applied the log; never falls."""
        with answering(self._client):
            self._commit(keys=[self.groups], args=[group, f"{position:020d}"])

    def committed(self, group: str) -> int:
        """Return how far a group has applied the log; 0 if it never said."""
        with answering(self._client):
            found: Any = self._client.hget(self.groups, group)
        return int(found or 0)

    def lag(self, group: str) -> int:
        """Return how many entries a group has not committed; counted one by one, so keep it for monitoring."""
        behind, after, page = 0, self.committed(group), 10_000
        while True:
            with answering(self._client):
                found: Any = self._client.xrange(self.key, f"({id_of(after)}", "+", count=page)
            behind += len(found)
            if len(found) < page:
                return behind
            after = position_of(found[-1][0])

    def forget(self, group: str) -> None:
        """Drop a group, which then holds no entry back any more."""
        with answering(self._client):
            self._client.hdel(self.groups, group)

    def close(self) -> None:
        """Leave the log."""
        self._client.close()


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

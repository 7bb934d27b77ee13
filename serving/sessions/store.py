"""The turns of conversations in progress: one hash each in the online store, changed by one script."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import redis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from features.compute.inputs import normalise_columns
from features.stream.turns import Conversation, Turn
from infra.clock import Clock, SystemClock
from rapport_feast.errors import Rejected
from rapport_feast.row.address import OnlineStore
from serving.errors import UnknownConversation
from serving.forms.sessions import TurnBody
from serving.sessions.compiled import CompiledFeatures
from validation.contracts.interactions import INTERACTIONS

TTL_SECONDS = 2 * 60 * 60
MAX_TURNS = 400
ANSWER_SECONDS = 0.25
CONNECTIONS = 8
TOLERANCE = timedelta(minutes=10)
UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# Fields: n counts, t<id> is "<number> <microseconds> <turn>", o<number> the id of the turn with that number.
APPEND_SCRIPT = """
local id, at, turn, most, ttl = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local fresh, old = 0, redis.call('HGET', KEYS[1], 't' .. id)
if old then
  if string.match(old, '^%d+ %d+ (.*)$') ~= turn then return {-1, 0} end
else
  fresh = 1
  local n = redis.call('HINCRBY', KEYS[1], 'n', 1)
  redis.call('HSET', KEYS[1], 't' .. id, n .. ' ' .. at .. ' ' .. turn, 'o' .. n, id)
  if n > most then
    local first = 'o' .. (n - most)
    redis.call('HDEL', KEYS[1], 't' .. redis.call('HGET', KEYS[1], first), first)
  end
end
redis.call('PEXPIRE', KEYS[1], ttl)
return {fresh, tonumber(redis.call('HGET', KEYS[1], 'n'))}
"""


@dataclass(frozen=True)
class Appended:
    """What became of a turn: whether it is new, and how many the conversation has had."""

    fresh: bool
    turns: int


@dataclass(frozen=True)
class Session:
    """A conversation as it is kept: its turns by time, how many there ever were, seconds until it expires."""

    turns: Sequence[Turn]
    ever: int
    expires_in: float


class Sessions:
    """The conversations in progress of one company.

    Parameters
    ----------
    store
        The online store.
    compiled
        The features, which outlive a store that went away.
    ttl
        Seconds of silence after which a conversation is forgotten.
    deadline
        How long the store may take to answer; nothing is tried twice.
    """

    def __init__(
        self,
        store: OnlineStore,
        compiled: "CompiledFeatures",
        *,
        ttl: float = TTL_SECONDS,
        deadline: float = ANSWER_SECONDS,
        max_turns: int = MAX_TURNS,
        clock: Clock | None = None,
    ) -> None:
        self.store, self.ttl, self.deadline, self.max_turns = store, ttl, deadline, max_turns
        self.clock = clock or SystemClock()
        self._client = _client(store, deadline)
        self._append = self._client.register_script(APPEND_SCRIPT)
        self._compiled = compiled

    async def append(self, conversation: str, turn: TurnBody) -> Appended:
        """Add a turn to a conversation, which begins or stays alive by it; a turn told again changes nothing.

        Raises
        ------
        Rejected
            The turn lies ahead, or its id was used for another one.
        Transient
            The store did not answer in time; the same turn may be told again.
        """
        now = self.clock.now()
        if turn.at is not None and turn.at > now + TOLERANCE:
            raise Rejected("at", f"a time up to {now + TOLERANCE:%Y-%m-%d %H:%M} UTC", turn.at.isoformat())
        said = normalise_columns(INTERACTIONS, turn.model_dump(exclude={"turn_id", "at"}))
        content = orjson.dumps(said | {"at": turn.at and _micros(turn.at)}, option=orjson.OPT_SORT_KEYS)
        arguments: list[Any] = [turn.turn_id, _micros(turn.at or now), content, self.max_turns, round(self.ttl * 1000)]
        fresh, turns = await self._reply(self._append(keys=[self._key(conversation)], args=arguments))
        if fresh < 0:
            raise Rejected("turn_id", "a new id, or the same turn again", f"{turn.turn_id!r} with other content")
        return Appended(fresh == 1, turns)

    async def session(self, conversation: str) -> Session:
        """Return a conversation as it is kept.

        Raises
        ------
        UnknownConversation
            There is none, or it has expired.
        Transient
            The store did not answer in time.
        """
        pipe = self._client.pipeline(transaction=True)
        pipe.hgetall(self._key(conversation))
        pipe.pttl(self._key(conversation))
        stored, ttl_ms = await self._reply(pipe.execute())
        if not stored:
            raise UnknownConversation("conversation", "one in progress", repr(conversation))
        turns = []
        for name, value in stored.items():
            if name.startswith(b"t"):
                _, at, content = value.split(b" ", 2)
                said = orjson.loads(content)
                said.pop("at")
                turns.append(Turn(event_id=name[1:].decode(), event_us=int(at), **said))
        turns.sort(key=lambda turn: (turn.event_us, turn.event_id))
        return Session(turns, int(stored[b"n"]), ttl_ms / 1000)

    async def features(self, conversation: str, session: Session | None = None) -> dict[str, Any]:
        """Return the features of a conversation now: feature = value.

        Raises
        ------
        UnknownConversation
            There is none.
        Transient
            The store did not answer in time, or the features are still being compiled.
        """
        session = session or await self.session(conversation)
        return await self._compiled.values(Conversation(conversation, session.turns, _micros(self.clock.now())))

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()

    def _key(self, conversation: str) -> str:
        return f"_session:{self.store.project}:{conversation}"

    async def _reply(self, command: Any) -> Any:
        try:
            async with asyncio.timeout(self.deadline):
                return await command
        except (TimeoutError, redis.ConnectionError, redis.TimeoutError) as error:
            raise self.store.silent(error) from error


def _client(store: OnlineStore, deadline: float) -> Redis:
    pool = BlockingConnectionPool.from_url(
        store.url,
        socket_timeout=deadline,
        socket_connect_timeout=deadline,
        retry=Retry(NoBackoff(), 0),
        max_connections=CONNECTIONS,
        timeout=deadline,
    )
    return Redis(connection_pool=pool)


def _micros(moment: datetime) -> int:
    return (moment - UNIX_EPOCH) // timedelta(microseconds=1)

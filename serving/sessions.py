"""Session state: the turns of the conversation in progress, and its features at any moment.

The turns lie in the online store, one hash per conversation, which one script changes: of two writers none loses a
turn, a turn told twice stands once, the oldest go beyond a limit, and a silent conversation expires. The features are
those of the catalogue about a conversation, compiled once per process in a thread; one query answers all who wait. The
compiler brings heavy libraries, so whoever starts the service hands in how to make it: ``features.session``. Facts come
through the event log as ever: what is kept here is gone when it expires.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Protocol

import orjson
import redis
from pydantic import AwareDatetime, Field, ValidationError
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import TypedDict

from features.expressions import let_in
from features.turns import FACT, Asked, Turn
from infra.clock import Clock, SystemClock
from infra.errors import Rejected, Transient
from infra.online import OnlineStore
from serving.requests import Malformed, TooLarge
from serving.schema import MAX_BODY_BYTES, MAX_NAME, Body, Name, Plain
from serving.views import Unknown

TTL_SECONDS = 2 * 60 * 60
MOST_TURNS, MOST_TEXT = 400, 10_000
ANSWER_SECONDS, COMPUTE_SECONDS = 0.25, 2.0
CONNECTIONS = 8
TOGETHER = 64
TOLERANCE = timedelta(minutes=10)
FIRST = datetime(1970, 1, 1, tzinfo=UTC)

# Fields: n counts, t<id> is "<number> <microseconds> <turn>", o<number> the id of the turn with that number.
APPEND = """
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

Text = Annotated[str, Field(max_length=MOST_TEXT)]


class Conversations(Protocol):
    """The compiled features of conversations; only one thread asks at a time."""

    def values(self, asked: Sequence[Asked]) -> list[dict[str, Any]]:
        """Return feature = value for each conversation."""
        ...

    def close(self) -> None:
        """Give back what they hold."""
        ...


class TurnBody(Body):
    """A turn as the caller tells it."""

    turn_id: Name = Field(description="told again with the same content, the turn stands once")
    author_role: Literal["customer", "agent", "bot"] = Field(description="who says it")
    text: Text | None = Field(None, description="what is said; addresses and numbers are masked before it is kept")
    channel: Literal["chat", "email", "call", "social", "review", "web", "app", "shop"] = Field("chat")
    visibility: Literal["public", "private"] = Field("public", description="who may read it")
    action: Name | None = Field(None, description="what the agent or bot did in this turn")
    at: AwareDatetime | None = Field(None, description="when; by default now")


class TurnTaken(TypedDict):
    """What became of a turn: whether it is new, and how many the conversation has had."""

    fresh: bool
    turns: int


class TurnAnswer(TypedDict):
    """A turn as it is kept."""

    turn_id: str
    at: str
    author_role: str
    text: str | None
    channel: str | None
    visibility: str
    action: str | None


class SessionAnswer(TypedDict):
    """A conversation in progress: its turns by time, how many there ever were, and its features now."""

    conversation: str
    ever: int
    expires_in_seconds: float
    features: dict[str, Plain]
    turns: list[TurnAnswer]


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
    seconds
        How long the store may take to answer; nothing is tried twice.
    """

    def __init__(
        self,
        store: OnlineStore,
        compiled: "Compiled",
        *,
        ttl: float = TTL_SECONDS,
        seconds: float = ANSWER_SECONDS,
        most: int = MOST_TURNS,
        clock: Clock | None = None,
    ) -> None:
        self.store, self.ttl, self.seconds, self.most = store, ttl, seconds, most
        self.clock = clock or SystemClock()
        self._client = _client(store, seconds)
        self._append = self._client.register_script(APPEND)
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
        told = let_in(FACT, turn.model_dump(exclude={"turn_id", "at"}))
        content = orjson.dumps(told | {"at": turn.at and _micros(turn.at)}, option=orjson.OPT_SORT_KEYS)
        arguments: list[Any] = [turn.turn_id, _micros(turn.at or now), content, self.most, round(self.ttl * 1000)]
        fresh, turns = await self._answer(self._append(keys=[self._key(conversation)], args=arguments))
        if fresh < 0:
            raise Rejected("turn_id", "a new id, or the same turn again", f"{turn.turn_id!r} with other content")
        return Appended(fresh == 1, turns)

    async def session(self, conversation: str) -> Session:
        """Return a conversation as it is kept.

        Raises
        ------
        Unknown
            There is none, or it has expired.
        Transient
            The store did not answer in time.
        """
        pipe = self._client.pipeline(transaction=True)
        pipe.hgetall(self._key(conversation))
        pipe.pttl(self._key(conversation))
        held, left = await self._answer(pipe.execute())
        if not held:
            raise Unknown("conversation", "one in progress", repr(conversation))
        turns = []
        for name, value in held.items():
            if name.startswith(b"t"):
                _, at, content = value.split(b" ", 2)
                told = orjson.loads(content)
                told.pop("at")
                turns.append(Turn(event_id=name[1:].decode(), event_us=int(at), **told))
        turns.sort(key=lambda turn: (turn.event_us, turn.event_id))
        return Session(turns, int(held[b"n"]), left / 1000)

    async def features(self, conversation: str, session: Session | None = None) -> dict[str, Any]:
        """Return the features of a conversation now: feature = value.

        Raises
        ------
        Unknown
            There is none.
        Transient
            The store did not answer in time, or the features are still being compiled.
        """
        session = session or await self.session(conversation)
        return await self._compiled.values(Asked(conversation, session.turns, _micros(self.clock.now())))

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()

    def _key(self, conversation: str) -> str:
        return f"_session:{self.store.project}:{conversation}"

    async def _answer(self, command: Any) -> Any:
        try:
            async with asyncio.timeout(self.seconds):
                return await command
        except (TimeoutError, redis.ConnectionError, redis.TimeoutError) as error:
            raise self.store.silent(error) from error


class Compiled:
    """The compiled features behind one thread; all who wait while it computes are answered by its next query.

    Parameters
    ----------
    conversations
        How they are made: it takes a second or more.
    """

    def __init__(self, conversations: Callable[[], Conversations]) -> None:
        self._make = conversations
        self._thread = ThreadPoolExecutor(1, "sessions")
        self._ready: Future[Conversations] | None = None
        self._waiting: list[tuple[Asked, asyncio.Future[dict[str, Any]]]] = []
        self._running: asyncio.Task[None] | None = None

    def start(self) -> Future[Conversations]:
        """Begin to compile; the result says when it is done, or what went wrong."""
        self._ready = self._thread.submit(self._make)
        return self._ready

    async def values(self, asked: Asked) -> dict[str, Any]:
        """Return the features of one conversation.

        Raises
        ------
        Transient
            They are still being compiled, or too many wait.
        """
        if self._ready is None or not self._ready.done():
            raise Transient("The features of conversations are still being compiled.")
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(self._ready.result()))
        try:
            async with asyncio.timeout(COMPUTE_SECONDS):
                return await answer
        except TimeoutError as error:
            raise Transient(f"The features of a conversation took longer than {COMPUTE_SECONDS} s.") from error

    async def _run(self, conversations: Conversations) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
            batch = [(asked, answer) for asked, answer in batch if not answer.done()]
            try:
                found = await loop.run_in_executor(self._thread, conversations.values, [asked for asked, _ in batch])
            except Exception as error:  # noqa: BLE001 - it belongs to those who wait for it
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, answer), values in zip(batch, found, strict=True):
                if not answer.done():
                    answer.set_result(values)

    def close(self) -> None:
        """End the thread and give back what was compiled."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._ready is not None and not self._ready.cancelled() and self._ready.exception() is None:
            self._ready.result().close()
            self._ready = None


class SessionPaths:
    """The paths of the service about conversations in progress.

    Parameters
    ----------
    sessions
        Returns the sessions of the store that the service has joined, or raises ``Transient`` where there is none.
    """

    def __init__(self, sessions: Callable[[], Sessions]) -> None:
        self.sessions = sessions

    @property
    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/v1/sessions/{conversation}/turns", self.append, methods=["POST"]),
            Route("/v1/sessions/{conversation}", self.show, methods=["GET"]),
        ]

    async def append(self, request: Request) -> Response:
        """Add a turn: 201 if it is new, 200 if it was told before."""
        turn = read_turn(await _body(request))
        found = await self.sessions().append(_conversation(request), turn)
        return _json({"fresh": found.fresh, "turns": found.turns}, 201 if found.fresh else 200)

    async def show(self, request: Request) -> Response:
        """Return the turns and the features of a conversation."""
        name = _conversation(request)
        sessions = self.sessions()
        session = await sessions.session(name)
        values = await sessions.features(name, session)
        turns = [
            {"turn_id": turn.event_id, "at": _moment(turn.event_us), **_without(turn._asdict(), "event_id", "event_us")}
            for turn in session.turns
        ]
        told = {"conversation": name, "ever": session.ever, "expires_in_seconds": session.expires_in}
        return _json({**told, "features": values, "turns": turns})


def read_turn(body: bytes) -> TurnBody:
    """Read the body of a turn.

    Raises
    ------
    Rejected
        It is not in the form of ``TurnBody``; ``Malformed`` if it is no JSON object.
    """
    try:
        return TurnBody.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
    if first["type"] in {"json_invalid", "model_type"}:
        raise Malformed("body", "a JSON object", first["msg"])
    raise Rejected(".".join(map(str, first["loc"])) or "body", "a valid turn", first["msg"])


async def _body(request: Request) -> bytes:
    """Return the body, read no further than its limit."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge
    return body


def _conversation(request: Request) -> str:
    name = str(request.path_params["conversation"])
    if len(name) > MAX_NAME:
        raise Rejected("conversation", f"at most {MAX_NAME} characters", str(len(name)))
    return name


def _client(store: OnlineStore, seconds: float) -> Redis:
    pool = BlockingConnectionPool.from_url(
        store.url,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
        max_connections=CONNECTIONS,
        timeout=seconds,
    )
    return Redis(connection_pool=pool)


def _json(content: Mapping[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _micros(moment: datetime) -> int:
    return (moment - FIRST) // timedelta(microseconds=1)


def _moment(micros: int) -> str:
    return (FIRST + timedelta(microseconds=micros)).isoformat(timespec="microseconds")

"""The online service: an ASGI application and the one process that runs it, ``rapport serve``.

It binds first and loads afterwards, so that ``/health`` answers at once and ``/ready`` says what is still missing.
"""

import gc
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import orjson
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from infra.errors import RapportError, Rejected, Terminal, Transient
from infra.workspace import Workspace
from serving.answers import features_answer, score_answer
from serving.inputs import BY_NAME
from serving.intake import Intake
from serving.lookups import of_service, of_view
from serving.openapi import openapi
from serving.protocol import Answer, Headers, protocol
from serving.requests import Malformed, TooLarge, find_model, read_features, read_ids
from serving.schema import MAX_BODY_BYTES, Fault
from serving.sessions import Conversations, SessionPaths
from serving.state import State
from serving.views import Unknown

HOST = "127.0.0.1"
STATUSES: dict[type[Exception], int] = {
    Malformed: 400,
    Unknown: 404,
    TooLarge: 413,
    Rejected: 422,
    Terminal: 500,
    Transient: 503,
}
JSON: Headers = ((b"content-type", b"application/json"),)
GRACE_SECONDS = 5
# Longer than pools of clients keep an idle connection: they close it, and not we while a request is on its way.
KEEP_ALIVE_SECONDS = 75
# A request leaves nothing behind that only the collector finds; a rare pass keeps it out of the answers' way.
RARELY = (50_000, 20, 50)
CLIENT_GONE = 499


class Features:
    """``/get-online-features``: a bare ASGI application; the service's protocol asks ``answer`` past ASGI."""

    path = "/get-online-features"

    def __init__(self, state: State) -> None:
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as Feast's feature server does."""
        try:
            content = await _body(receive)
        except ClientDisconnect:
            return
        except TooLarge as error:
            body, status, headers = _fault(error)
            self.state.meter.answered(self.path, status, 0.0)
        else:
            body, status, headers = await self.answer(content)
        await send({"type": "http.response.start", "status": status, "headers": [*headers, _length(body)]})
        await send({"type": "http.response.body", "body": body})

    async def answer(self, content: bytes) -> Answer:
        """Return body, status and headers of the answer to the body of a request."""
        begun = time.perf_counter()
        try:
            body, status, headers = await self._answer(content), 200, JSON
        except RapportError as error:
            body, status, headers = _fault(error)
        self.state.meter.answered(self.path, status, time.perf_counter() - begun)
        return body, status, headers

    async def _answer(self, body: bytes) -> bytes:
        state = self.state
        wanted = read_features(body, state.planner, lambda: state.models)
        found = await state.reader.read(wanted.plan, wanted.entities)
        request = state.deliver(found, wanted.entities)
        return features_answer(wanted, found, request)


class Api:
    """The other paths of the service over its state."""

    def __init__(self, ws: Workspace, conversations: Callable[[], Conversations] | None) -> None:
        self.ws = ws
        self.state = State(ws, conversations)
        self.intake = Intake(ws)
        self.page = orjson.dumps(openapi(sessions=conversations is not None))

    async def health(self, _: Request) -> Response:
        """Answer as soon as the process lives."""
        return _json({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """Say what is served; 503 until everything is."""
        report = self.state.report()
        return _json(report, 200 if report["ready"] else 503)

    async def metrics(self, _: Request) -> Response:
        """Return the counters in Prometheus' text form."""
        return Response(self.state.meter.text(), media_type=CONTENT_TYPE_LATEST)

    async def description(self, _: Request) -> Response:
        """Return the OpenAPI page."""
        return Response(self.page, media_type="application/json")

    async def schema(self, request: Request) -> Response:
        """Return the JSON Schemas of a lookup of a view, group, request or feature service."""
        name, views = request.path_params["name"], self.state.views
        if name not in BY_NAME and name in self.state.models:
            return _json(of_service(self.state.models[name], views))
        return _json(of_view(name, views))

    async def events(self, request: Request) -> Response:
        """Take events into the log, or say what form they have."""
        source = request.path_params["source"]
        if request.method != "POST":
            return _json(self.intake.schema(source))
        status, taken = await self.intake.take(source, await _body(request.receive))
        return _json(taken, status)

    async def score(self, request: Request) -> Response:
        """Score entities with a champion model."""
        begun = time.perf_counter()
        name, body = request.path_params["model"], await _body(request.receive)
        state, models = self.state, self.state.models
        if name in state.shelf.refused and name not in models:
            raise Transient(f"Model {name} is not served: {state.shelf.refused[name]}")
        model = find_model(models, name)
        key = state.views.key_of(model.manifest.entity)
        ids = read_ids(body, key)
        plan = state.planner.plan(dict.fromkeys(model.references, key), full_names=True, with_views=False)
        entities = {key: ids}
        found = await state.reader.read(plan, entities)
        answer = _json(score_answer(model, ids, plan, found, state.deliver(found, entities)))
        state.meter.answered("/v1/score", 200, time.perf_counter() - begun)
        return answer


class App:
    """The service as an ASGI application; its lifespan loads and watches."""

    def __init__(self, ws: Workspace, conversations: Callable[[], Conversations] | None = None) -> None:
        api = Api(ws, conversations)
        self.features = Features(api.state)

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            api.state.start()
            api.intake.start()
            yield
            await api.intake.close()
            await api.state.close()

        self.routes = [
            Route(Features.path, self.features, methods=["POST"]),
            Route("/v1/score/{model}", api.score, methods=["POST"]),
            Route("/v1/events/{source}", api.events, methods=["GET", "POST"]),
            Route("/v1/schema/{name}", api.schema),
            Route("/health", api.health),
            Route("/ready", api.ready),
            Route("/metrics", api.metrics),
            Route("/openapi.json", api.description),
        ]
        if conversations is not None:
            self.routes += SessionPaths(lambda: api.state.sessions).routes
        self.rest = Starlette(
            routes=self.routes,
            exception_handlers={RapportError: _refused, HTTPException: _wrong_path, ClientDisconnect: _gone},
            lifespan=lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer lookups at once, and everything else by its route."""
        if scope["type"] == "http" and scope["path"] == Features.path and scope["method"] == "POST":
            await self.features(scope, receive, send)
        else:
            await self.rest(scope, receive, send)


def create_app(ws: Workspace, conversations: Callable[[], Conversations] | None = None) -> App:
    """Return the service of a workspace; it keeps sessions if it is told how their features are compiled."""
    return App(ws, conversations)


def serve(ws: Workspace, port: int | None = None, conversations: Callable[[], Conversations] | None = None) -> None:
    """Run the service until SIGTERM or SIGINT, by default on the port of the settings.

    Raises
    ------
    Rejected
        The port is taken.
    """
    gc.set_threshold(*RARELY)
    listener = _bind(ws.settings.serve_port if port is None else port)
    app = create_app(ws, conversations)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=protocol(Features.path, app.features.answer),  # type: ignore[arg-type]  # it only has to make one
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    with listener:
        _Server(config).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Uvicorn that ends with a clean return on a signal, instead of raising it again when all is done."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        former = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


def _bind(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        remedy = "Choose another with --port or RAPPORT_SERVE_PORT."
        raise Rejected(f"port {port}", "a free port", getattr(error, "strerror", None) or str(error), remedy) from None
    return listener


async def _body(receive: Receive) -> bytes:
    """Return the body, read no further than its limit."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge
        more = message.get("more_body", False)
    return body


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % len(body)


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def _fault(error: RapportError) -> Answer:
    """Return body, status and headers of an answer that says what is wrong."""
    status = next(status for kind, status in STATUSES.items() if isinstance(error, kind))
    fault: Fault = {"message": str(error)}
    if isinstance(error, Rejected):
        fault |= {"field": error.field, "expected": error.expected, "found": error.found}
    return orjson.dumps({"error": fault}), status, (*JSON, (b"retry-after", b"1")) if status == 503 else JSON


async def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, RapportError):
        raise error
    body, status, headers = _fault(error)
    return Response(body, status, {name.decode(): value.decode() for name, value in headers})


async def _wrong_path(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    where = f"{request.method} {ascii(request.url.path[:200])[1:-1]}"
    sentence = f"{where}: there is no such path, /openapi.json lists them."
    headers = None
    if isinstance(error, HTTPException) and status == 405:
        sentence, headers = (
            f"{where}: this path takes {(error.headers or {}).get('Allow', 'another method')}.",
            error.headers,
        )
    return _json({"error": {"message": sentence}}, status, headers)


async def _gone(_: Request, error: Exception) -> Response:
    """Answer nobody: the client left while it was sending."""
    return Response(status_code=CLIENT_GONE)

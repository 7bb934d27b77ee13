"""The online service: an ASGI application and the one process that runs it, ``rapport serve``.

It binds first and loads afterwards, so that ``/health`` answers at once and ``/ready`` says what is still missing.
"""

import signal
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from infra.errors import RapportError, Rejected, Terminal, Transient
from infra.workspace import Workspace
from serving.answers import ByEntity, features_answer, score_answer
from serving.inputs import BY_NAME
from serving.lookups import of_service, of_view
from serving.openapi import openapi
from serving.requests import Malformed, TooLarge, Wanted, find_model, read_features, read_ids
from serving.schema import MAX_BODY_BYTES, Fault
from serving.state import State
from serving.views import Reference, Unknown

HOST = "127.0.0.1"
STATUSES: dict[type[Exception], int] = {
    Malformed: 400,
    Unknown: 404,
    TooLarge: 413,
    Rejected: 422,
    Terminal: 500,
    Transient: 503,
}
GRACE_SECONDS = 5
CLIENT_GONE = 499


class Api:
    """The paths of the service over its state."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.state = State(ws)
        self.page = orjson.dumps(openapi())

    async def health(self, _: Request) -> Response:
        """Answer as soon as the process lives."""
        return _json({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """Say what is served; 503 until everything is."""
        report = await self.state.report()
        return _json(report, 200 if report["ready"] else 503)

    async def description(self, _: Request) -> Response:
        """Return the OpenAPI page."""
        return Response(self.page, media_type="application/json")

    async def features(self, request: Request) -> Response:
        """Answer as Feast's feature server does."""
        body = await _body(request)
        wanted = read_features(body, self.state.views, lambda: self.state.models)
        return _json(features_answer(wanted, await self._read(wanted), self.ws.clock.now()))

    async def schema(self, request: Request) -> Response:
        """Return the JSON Schemas of a lookup of a view, group, request or feature service."""
        name, views = request.path_params["name"], self.state.views
        if name not in BY_NAME and name in self.state.models:
            return _json(of_service(self.state.models[name], views))
        return _json(of_view(name, views))

    async def score(self, request: Request) -> Response:
        """Score entities with a champion model."""
        name, body = request.path_params["model"], await _body(request)
        models = self.state.models
        if name in self.state.shelf.refused and name not in models:
            raise Transient(f"Model {name} is not served: {self.state.shelf.refused[name]}")
        model = find_model(models, name)
        key = self.state.views.key_of(model.manifest.entity)
        ids = read_ids(body, key)
        found = await self.state.reader.read(key, ids, model.references)
        return _json(score_answer(model, ids, found, self.ws.clock.now()))

    async def _read(self, wanted: Wanted) -> Mapping[str, ByEntity]:
        by_key: dict[str, list[Reference]] = defaultdict(list)
        for reference, key in wanted.stored.items():
            by_key[key].append(reference)
        if not by_key:  # a request alone needs no store
            return {}
        reader = self.state.reader
        return {key: await reader.read(key, wanted.entities[key], references) for key, references in by_key.items()}


def create_app(ws: Workspace) -> Starlette:
    """Return the service of a workspace as an ASGI application; its lifespan loads and watches."""
    api = Api(ws)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        api.state.start()
        yield
        await api.state.close()

    return Starlette(
        routes=[
            Route("/get-online-features", api.features, methods=["POST"]),
            Route("/v1/score/{model}", api.score, methods=["POST"]),
            Route("/v1/schema/{name}", api.schema),
            Route("/health", api.health),
            Route("/ready", api.ready),
            Route("/openapi.json", api.description),
        ],
        exception_handlers={RapportError: _fault, HTTPException: _wrong_path, ClientDisconnect: _gone},
        lifespan=lifespan,
    )


def serve(ws: Workspace, port: int | None = None) -> None:
    """Run the service until SIGTERM or SIGINT, by default on the port of the settings.

    Raises
    ------
    Rejected
        The port is taken.
    """
    listener = _bind(ws.settings.serve_port if port is None else port)
    config = uvicorn.Config(
        create_app(ws),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
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


async def _body(request: Request) -> bytes:
    """Return the body, read no further than its limit."""
    chunks, size = [], 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise TooLarge
    return b"".join(chunks)


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


async def _fault(_: Request, error: Exception) -> Response:
    status = next(status for kind, status in STATUSES.items() if isinstance(error, kind))
    fault: Fault = {"message": str(error)}
    if isinstance(error, Rejected):
        fault |= {"field": error.field, "expected": error.expected, "found": error.found}
    return _json({"error": fault}, status, {"Retry-After": "1"} if status == 503 else None)


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

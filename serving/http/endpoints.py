"""The paths of the service, but for lookups and sessions."""

import time
from collections.abc import Callable

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from infra.workspace import Workspace
from serving.errors import ModelNotServed
from serving.http.lookup_schema import service_schema, view_schema
from serving.http.openapi import openapi
from serving.http.requests import find_model, read_ids
from serving.http.responses import json_response, read_body
from serving.intake.intake import Intake
from serving.score.references import references_of
from serving.score.response import score_response
from serving.sessions.compiled import ConversationFeatures
from serving.state.state import State


class Endpoints:
    """The other paths of the service over its state."""

    def __init__(self, ws: Workspace, conversations: Callable[[], ConversationFeatures] | None) -> None:
        self.ws = ws
        self.state = State(ws, conversations)
        self.intake = Intake(ws)
        self.page = orjson.dumps(openapi(sessions=conversations is not None))

    async def health(self, _: Request) -> Response:
        """Answer as soon as the process lives."""
        return json_response({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """Say what is served; 503 until everything is."""
        report = self.state.report()
        return json_response(report, 200 if report["ready"] else 503)

    async def metrics(self, _: Request) -> Response:
        """Return the counters in Prometheus' text form."""
        return Response(self.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def description(self, _: Request) -> Response:
        """Return the OpenAPI page."""
        return Response(self.page, media_type="application/json")

    async def schema(self, request: Request) -> Response:
        """Return the JSON Schemas of a lookup of a view, group, request or feature service."""
        name, views = request.path_params["name"], self.state.views
        if name not in views.catalogue.request_views and name in self.state.models:
            return json_response(service_schema(self.state.models[name], views))
        return json_response(view_schema(name, views))

    async def events(self, request: Request) -> Response:
        """Take events into the log, or say what form they have."""
        source = request.path_params["source"]
        if request.method != "POST":
            return json_response(self.intake.schema(source))
        status, taken = await self.intake.take(source, await read_body(request.receive))
        return json_response(taken, status)

    async def score(self, request: Request) -> Response:
        """Score entities with a champion model."""
        started = time.perf_counter()
        name, body = request.path_params["model"], await read_body(request.receive)
        state, models = self.state, self.state.models
        if name in state.artifacts.refused and name not in models:
            raise ModelNotServed(f"Model {name} is not served: {state.artifacts.refused[name]}")
        model = find_model(models, name)
        key = state.views.key_of(model.manifest.entity)
        ids = read_ids(body, key)
        plan = state.planner.plan(dict.fromkeys(references_of(model), key), full_names=True, with_views=False)
        entities = {key: ids}
        result = await state.reader.read(plan, entities)
        answer = json_response(score_response(model, ids, plan, result, state.record_response(result, entities)))
        state.metrics.observe("/v1/score", 200, time.perf_counter() - started)
        return answer

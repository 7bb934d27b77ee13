"""The OpenAPI page of the service, made of the forms in ``serving.forms`` so that it cannot say something else."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from serving.forms.base import MAX_BODY_BYTES
from serving.forms.events import EventsResponse
from serving.forms.features import FeaturesRequest, FeaturesResponse, LookupSchema
from serving.forms.score import ScoreRequest, ScoreResponse
from serving.forms.service import ErrorResponse, Health, Readiness
from serving.forms.sessions import SessionResponse, TurnBody, TurnResponse

RESPONSE_TYPES = (
    FeaturesRequest,
    FeaturesResponse,
    ScoreRequest,
    ScoreResponse,
    LookupSchema,
    Health,
    Readiness,
    EventsResponse,
    ErrorResponse,
)
SESSION_FORMS = (TurnBody, TurnResponse, SessionResponse)
ERRORS = {
    "400": "The body is no JSON object.",
    "404": "A feature, view, feature service, entity or model does not exist.",
    "413": f"The body has more than {MAX_BODY_BYTES} bytes.",
    "422": "The body does not have the form of its schema.",
    "503": "The service is still loading: without the published views it does not know the features.",
}


def openapi(*, sessions: bool) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of every path, with those of sessions where they are kept."""
    page = _page()
    if sessions:
        page["paths"] |= _session_paths()
        page["components"]["schemas"] |= _schemas(SESSION_FORMS)
    return page


def _page() -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Rapport online service",
            "version": "1",
            "description": "Features of entities and scores of the champion models, with the age of every value.",
        },
        "paths": {
            "/get-online-features": {
                "post": _post("Features of entities, in Feast's form.", FeaturesRequest, FeaturesResponse)
            },
            "/v1/score/{model}": {
                "post": _post("Scores of entities by a champion model.", ScoreRequest, ScoreResponse)
                | {"parameters": [_parameter("model")]}
            },
            "/v1/schema/{name}": {
                "get": _get(
                    "JSON Schemas of a lookup of a view, group, request or feature service.",
                    {
                        "200": _answer("Those of its request and of its answer.", LookupSchema),
                        **{status: _answer(ERRORS[status], ErrorResponse) for status in ("404", "503")},
                    },
                )
                | {"parameters": [_parameter("name")]}
            },
            "/v1/events/{source}": {
                "get": _get(
                    "JSON Schema of the events of a streamed source.",
                    {
                        "200": {
                            "description": "The schema of one event.",
                            "content": {"application/json": {"schema": {"type": "object"}}},
                        },
                        "404": _answer(ERRORS["404"], ErrorResponse),
                    },
                ),
                "post": {
                    "summary": "Events into the log: one JSON object, an array of them, or JSON lines.",
                    "requestBody": {
                        "required": True,
                        "content": {kind: {"schema": {}} for kind in ("application/json", "application/x-ndjson")},
                    },
                    "responses": {
                        "202": _answer("All are durable.", EventsResponse),
                        "422": _answer("Those listed were refused, the others are durable.", EventsResponse),
                        **{status: _answer(ERRORS[status], ErrorResponse) for status in ("400", "404", "413", "503")},
                    },
                },
                "parameters": [_parameter("source")],
            },
            "/health": {"get": _get("Whether the process lives.", {"200": _answer("It does.", Health)})},
            "/ready": {
                "get": _get(
                    "What is served, and why not.",
                    {
                        "200": _answer("Everything is served.", Readiness),
                        "503": _answer("Something is not.", Readiness),
                    },
                )
            },
            "/metrics": {
                "get": _get(
                    "What the service counts.",
                    {
                        "200": {
                            "description": "Prometheus' text form.",
                            "content": {"text/plain": {"schema": {"type": "string"}}},
                        }
                    },
                )
            },
            "/openapi.json": {
                "get": _get(
                    "This page.",
                    {
                        "200": {
                            "description": "OpenAPI 3.1.",
                            "content": {"application/json": {"schema": {"type": "object"}}},
                        }
                    },
                )
            },
        },
        "components": {"schemas": _schemas(RESPONSE_TYPES)},
    }


def _session_paths() -> dict[str, Any]:
    conversation = {"parameters": [_parameter("conversation")]}
    errors = {status: _answer(ERRORS[status], ErrorResponse) for status in ("400", "413", "422", "503")}
    append = {
        "summary": "A turn of a conversation in progress, which stays known for two hours after its last turn.",
        "requestBody": {"required": True, "content": _content(TurnBody)},
        "responses": {
            "200": _answer("The turn was sent before.", TurnResponse),
            "201": _answer("The turn is new.", TurnResponse),
            **errors,
        },
    }
    show = _get(
        "A conversation in progress: its turns and its features now.",
        {
            "200": _answer("What is known of it.", SessionResponse),
            **{status: _answer(ERRORS[status], ErrorResponse) for status in ("404", "503")},
        },
    )
    return {
        "/v1/sessions/{conversation}/turns": {"post": append} | conversation,
        "/v1/sessions/{conversation}": {"get": show} | conversation,
    }


def _schemas(types: Sequence[type]) -> dict[str, Any]:
    adapters: list[tuple[Any, Any, TypeAdapter[Any]]] = [
        (form.__name__, "validation", TypeAdapter(form)) for form in types
    ]
    _, definitions = TypeAdapter.json_schemas(adapters, ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _post(summary: str, takes: type, gives: type) -> dict[str, Any]:
    faults = {status: _answer(text, ErrorResponse) for status, text in ERRORS.items()}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": _content(takes)},
        "responses": {"200": _answer("The answer.", gives), **faults},
    }


def _get(summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "responses": responses}


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _answer(description: str, form: type) -> dict[str, Any]:
    return {"description": description, "content": _content(form)}


def _content(form: type) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{form.__name__}"}}}

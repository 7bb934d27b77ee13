"""Bodies read no further than their limit; responses and errors as JSON."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive

from rapport_feast.errors import RapportError, Rejected, Terminal, Transient
from serving.errors import BodyTooLarge, MalformedBody, UnknownName
from serving.forms.base import MAX_BODY_BYTES
from serving.forms.service import ErrorDetail
from serving.http.protocol import Headers, RawResponse

STATUS_OF_ERROR: dict[type[Exception], int] = {
    MalformedBody: 400,
    UnknownName: 404,
    BodyTooLarge: 413,
    Rejected: 422,
    Terminal: 500,
    Transient: 503,
}
JSON_HEADERS: Headers = ((b"content-type", b"application/json"),)
CLIENT_CLOSED_REQUEST = 499


async def read_body(receive: Receive) -> bytes:
    """Return the body, read no further than its limit."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge
        more = message.get("more_body", False)
    return body


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def error_response(error: RapportError) -> RawResponse:
    """Return body, status and headers of an answer that says what is wrong."""
    status = next(status for kind, status in STATUS_OF_ERROR.items() if isinstance(error, kind))
    fault: ErrorDetail = {"message": str(error)}
    if isinstance(error, Rejected):
        fault |= {"field": error.field, "expected": error.expected, "found": error.found}
    return (
        orjson.dumps({"error": fault}),
        status,
        (*JSON_HEADERS, (b"retry-after", b"1")) if status == 503 else JSON_HEADERS,
    )


async def on_rapport_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, RapportError):
        raise error
    body, status, headers = error_response(error)
    return Response(body, status, {name.decode(): value.decode() for name, value in headers})


async def on_http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    where = f"{request.method} {ascii(request.url.path[:200])[1:-1]}"
    sentence = f"{where}: there is no such path, /openapi.json lists them."
    headers = None
    if isinstance(error, HTTPException) and status == 405:
        sentence, headers = (
            f"{where}: this path takes {(error.headers or {}).get('Allow', 'another method')}.",
            error.headers,
        )
    return json_response({"error": {"message": sentence}}, status, headers)


async def on_disconnect(_: Request, error: Exception) -> Response:
    """Answer nobody: the client left while it was sending."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)

"""``/get-online-features``, which the protocol answers past ASGI."""

import time

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from rapport_feast.errors import RapportError
from serving.errors import BodyTooLarge
from serving.http.features_response import features_response
from serving.http.protocol import RawResponse
from serving.http.requests import read_features
from serving.http.responses import JSON_HEADERS, error_response, read_body
from serving.state.state import State


class FeaturesEndpoint:
    """``/get-online-features``: a bare ASGI application; the service's protocol asks ``answer`` past ASGI."""

    path = "/get-online-features"

    def __init__(self, state: State) -> None:
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as Feast's feature server does."""
        try:
            content = await read_body(receive)
        except ClientDisconnect:
            return
        except BodyTooLarge as error:
            body, status, headers = error_response(error)
            self.state.metrics.observe(self.path, status, 0.0)
        else:
            body, status, headers = await self.answer(content)
        await send({"type": "http.response.start", "status": status, "headers": [*headers, _content_length(body)]})
        await send({"type": "http.response.body", "body": body})

    async def answer(self, content: bytes) -> RawResponse:
        """Return body, status and headers of the answer to the body of a request."""
        started = time.perf_counter()
        try:
            body, status, headers = await self._answer(content), 200, JSON_HEADERS
        except RapportError as error:
            body, status, headers = error_response(error)
        self.state.metrics.observe(self.path, status, time.perf_counter() - started)
        return body, status, headers

    async def _answer(self, body: bytes) -> bytes:
        state = self.state
        query = read_features(body, state.planner, lambda: state.models)
        result = await state.reader.read(query.plan, query.entities)
        request = state.record_response(result, query.entities)
        return features_response(query, result, request)


def _content_length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % len(body)

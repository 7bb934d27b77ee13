"""The online service as an ASGI application."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from infra.workspace import Workspace
from rapport_feast.errors import RapportError
from serving.http.endpoints import Endpoints
from serving.http.features import FeaturesEndpoint
from serving.http.responses import on_disconnect, on_http_error, on_rapport_error
from serving.http.sessions import SessionEndpoints
from serving.sessions.compiled import ConversationFeatures


class App:
    """The service as an ASGI application; its lifespan loads and watches."""

    def __init__(self, ws: Workspace, conversations: Callable[[], ConversationFeatures] | None = None) -> None:
        api = Endpoints(ws, conversations)
        self.features = FeaturesEndpoint(api.state)

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            api.state.start()
            api.intake.start()
            yield
            await api.intake.close()
            await api.state.close()

        self.routes = [
            Route(FeaturesEndpoint.path, self.features, methods=["POST"]),
            Route("/v1/score/{model}", api.score, methods=["POST"]),
            Route("/v1/events/{source}", api.events, methods=["GET", "POST"]),
            Route("/v1/schema/{name}", api.schema),
            Route("/health", api.health),
            Route("/ready", api.ready),
            Route("/metrics", api.metrics),
            Route("/openapi.json", api.description),
        ]
        if conversations is not None:
            self.routes += SessionEndpoints(lambda: api.state.sessions).routes
        self.rest = Starlette(
            routes=self.routes,
            exception_handlers={
                RapportError: on_rapport_error,
                HTTPException: on_http_error,
                ClientDisconnect: on_disconnect,
            },
            lifespan=lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer lookups at once, and everything else by its route."""
        if scope["type"] == "http" and scope["path"] == FeaturesEndpoint.path and scope["method"] == "POST":
            await self.features(scope, receive, send)
        else:
            await self.rest(scope, receive, send)


def create_app(ws: Workspace, conversations: Callable[[], ConversationFeatures] | None = None) -> App:
    """Return the service of a workspace; it keeps sessions if it is given how their features are compiled."""
    return App(ws, conversations)

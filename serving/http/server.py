"""The one process of the service, ``rapport serve``: it binds first and loads afterwards."""

import gc
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from infra.telemetry import Log
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from serving.http.app import create_app
from serving.http.features import FeaturesEndpoint
from serving.http.protocol import protocol_factory
from serving.sessions.compiled import ConversationFeatures

LOG = Log(__name__)

HOST = "127.0.0.1"
GRACE_SECONDS = 5


# Longer than pools of clients keep an idle connection: they close it, and not we while a request is on its way.
KEEP_ALIVE_SECONDS = 75


# A request leaves nothing behind that only the collector finds; a rare pass keeps it out of the answers' way.
GC_THRESHOLDS = (50_000, 20, 50)


def serve(
    ws: Workspace, port: int | None = None, conversations: Callable[[], ConversationFeatures] | None = None
) -> None:
    """Run the service until SIGTERM or SIGINT, by default on the port of the settings.

    Raises
    ------
    Rejected
        The port is taken.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    listener = _bind(ws.settings.serve_port if port is None else port)
    app = create_app(ws, conversations)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=protocol_factory(FeaturesEndpoint.path, app.features.answer),  # type: ignore[arg-type]  # it only has to make one
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    with listener:
        LOG.info("service started", port=listener.getsockname()[1])
        _Server(config).run(sockets=[listener])
    LOG.info("service stopped")


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

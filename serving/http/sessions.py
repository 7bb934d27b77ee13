"""The paths of the service about conversations in progress."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rapport_feast.errors import Rejected
from serving.errors import BodyTooLarge, MalformedBody
from serving.forms.base import MAX_BODY_BYTES, MAX_NAME
from serving.forms.sessions import TurnBody
from serving.sessions.store import UNIX_EPOCH, Sessions


class SessionEndpoints:
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
        """Add a turn: 201 if it is new, 200 if it was sent before."""
        turn = read_turn(await _body(request))
        appended = await self.sessions().append(_conversation(request), turn)
        return _json({"fresh": appended.fresh, "turns": appended.turns}, 201 if appended.fresh else 200)

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
        head = {"conversation": name, "ever": session.ever, "expires_in_seconds": session.expires_in}
        return _json({**head, "features": values, "turns": turns})


def read_turn(body: bytes) -> TurnBody:
    """Read the body of a turn.

    Raises
    ------
    Rejected
        It is not in the form of ``TurnBody``; ``MalformedBody`` if it is no JSON object.
    """
    try:
        return TurnBody.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
    if first["type"] in {"json_invalid", "model_type"}:
        raise MalformedBody("body", "a JSON object", first["msg"])
    raise Rejected(".".join(map(str, first["loc"])) or "body", "a valid turn", first["msg"])


async def _body(request: Request) -> bytes:
    """Return the body, read no further than its limit."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge
    return body


def _conversation(request: Request) -> str:
    name = str(request.path_params["conversation"])
    if len(name) > MAX_NAME:
        raise Rejected("conversation", f"at most {MAX_NAME} characters", str(len(name)))
    return name


def _json(content: Mapping[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _moment(micros: int) -> str:
    return (UNIX_EPOCH + timedelta(microseconds=micros)).isoformat(timespec="microseconds")

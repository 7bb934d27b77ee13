"""The forms of what the service says about itself, and of errors."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict


class ServedModel(TypedDict):
    """A champion that is served."""

    version: str
    digest: str
    night: str | None


class OnlineStoreStatus(TypedDict):
    """The state of the online store."""

    reachable: bool
    address: str | None
    breaker: Literal["closed", "half-open", "open"]
    applied: str | None
    night: str | None


class Readiness(TypedDict):
    """What is served; ``problem`` says why the service is not ready, ``refused`` why a new champion is not served."""

    ready: bool
    problem: str | None
    models: dict[str, ServedModel]
    refused: dict[str, str]
    views: list[str]
    online: OnlineStoreStatus


class Health(TypedDict):
    """The process lives."""

    status: str


class ErrorDetail(TypedDict):
    """What was wrong; ``message`` is the whole of it in one sentence."""

    message: str
    field: NotRequired[str]
    expected: NotRequired[str]
    found: NotRequired[str]


class ErrorResponse(TypedDict):
    """Every answer that is not a 200."""

    error: ErrorDetail

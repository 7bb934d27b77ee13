"""The forms of what the service takes and gives; requests are checked against them and OpenAPI is made of them.

The feature request and response are those of Feast's feature server (0.67).
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from typing_extensions import TypedDict

MAX_BODY_BYTES = 1_000_000
MAX_ENTITIES = 1000
MAX_FEATURES = 500
MAX_NAME = 256

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Ids = Annotated[list[Name], Field(min_length=1, max_length=MAX_ENTITIES)]
Entities = Annotated[dict[Name, Ids], Field(min_length=1, max_length=16)]
Plain = str | int | float | bool | None
Status = Literal["PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"]
Rung = Literal["live", "nightly", "prior", "default"]
# Beside ids stand the inputs of a request, as in Feast: what each may be depends on what it is, so it is checked later.
Scalar = Annotated[Any, WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]
Values = Annotated[list[Scalar], Field(min_length=1, max_length=MAX_ENTITIES)]
Given = Annotated[dict[Name, Values], Field(min_length=1, max_length=16)]


class Body(BaseModel):
    """A request: nothing is converted, and a key that nothing reads is refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class FeaturesRequest(Body):
    """Features of entities, by reference or by the name of a feature service (a model)."""

    entities: Given = Field(
        description="join key (such as customer_id) or input of the request (such as text) to values, of one length all"
    )
    feature_service: Name | None = Field(None, description="a model: the features that it reads")
    features: list[Name] = Field(
        [], max_length=MAX_FEATURES, description="<view, group or request>:<feature>; a group is its current version"
    )
    full_feature_names: bool = Field(False, description="answer <view>__<feature> instead of <feature>")
    include_feature_view_version_metadata: bool = Field(False, description="list the views that were read")


class ScoreRequest(Body):
    """Entities to score: one as ``entity``, or many under the join key of the model."""

    entity: Name | None = Field(None, description="one id")
    entities: Entities | None = Field(None, description="the model's join key to ids")


class LookupSchema(TypedDict):
    """The JSON Schemas of a lookup: of a request for all its features, and of the answer."""

    name: str
    request: dict[str, Any]
    answer: dict[str, Any]


class Vector(TypedDict):
    """One column: a value, its status and its event time per entity, in the order of the request."""

    values: list[Plain]
    statuses: list[Status]
    event_timestamps: list[str]


class ViewName(TypedDict):
    """A view that was read."""

    name: str


class Metadata(TypedDict):
    """The names of the columns: the join keys first, then the features in the order of the request."""

    feature_names: list[str]
    feature_view_metadata: NotRequired[list[ViewName]]


class Delivery(TypedDict):
    """An answer: its id, when it was given and what was known then.

    ``applied`` is the log time up to which everything accepted was online; null where no stream runs. ``degraded`` says
    whether a value came from a lower rung for another reason than that there never was one.
    """

    request: str
    served_at: str
    applied: str | None
    degraded: bool


class Fallback(TypedDict):
    """A value that is not of its first rung: where it comes from instead, why, and how old that is."""

    feature: str
    row: int
    rung: Rung
    reason: str
    age_seconds: float | None


class Told(Delivery):
    """What Feast's form has no room for; a value that is not named here is of its first rung."""

    fallbacks: list[Fallback]


class FeaturesResponse(TypedDict):
    """Feast's answer: one vector per name."""

    metadata: Metadata
    results: list[Vector]
    rapport: Told


class FeatureValue(TypedDict):
    """A feature as it was served: status of the first rung, the rung it is of, and the reason if that is another.

    A default has neither event time nor age.
    """

    value: Plain
    status: Status
    rung: Rung
    reason: str | None
    event_time: str | None
    age_seconds: float | None


class Score(TypedDict):
    """One entity's score: a probability, or the expected value of each action and the best one.

    ``missing`` names the features that are not of their first rung.
    """

    entity: str
    score: NotRequired[float]
    action_values: NotRequired[dict[str, float]]
    choice: NotRequired[str]
    features: dict[str, FeatureValue]
    missing: list[str]


class ScoreResponse(Delivery):
    """The scores of a model, and which model exactly."""

    model: str
    version: str
    digest: str
    entity: str
    results: list[Score]


class Served(TypedDict):
    """A champion that is served."""

    version: str
    digest: str
    night: str | None


class Online(TypedDict):
    """The state of the online store."""

    reachable: bool
    address: str | None
    breaker: Literal["closed", "half-open", "open"]
    applied: str | None
    night: str | None


class Ready(TypedDict):
    """What is served; ``problem`` says why the service is not ready, ``refused`` why a new champion is not served."""

    ready: bool
    problem: str | None
    models: dict[str, Served]
    refused: dict[str, str]
    views: list[str]
    online: Online


class Health(TypedDict):
    """The process lives."""

    status: str


class Fault(TypedDict):
    """What was wrong; ``message`` is the whole of it in one sentence."""

    message: str
    field: NotRequired[str]
    expected: NotRequired[str]
    found: NotRequired[str]


class FaultResponse(TypedDict):
    """Every answer that is not a 200."""

    error: Fault

"""The forms of a lookup, which are those of Feast's feature server (0.67), with one object of ours beside them."""

from typing import Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from serving.forms.base import MAX_FEATURES, Body, Columns, JsonValue, Name

Status = Literal["PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"]
Rung = Literal["live", "nightly", "prior", "default"]


class FeaturesRequest(Body):
    """Features of entities, by reference or by the name of a feature service (a model)."""

    entities: Columns = Field(
        description="join key (such as customer_id) or input of the request (such as text) to values, of one length all"
    )
    feature_service: Name | None = Field(None, description="a model: the features that it reads")
    features: list[Name] = Field(
        [], max_length=MAX_FEATURES, description="<view, group or request>:<feature>; a group is its current version"
    )
    full_feature_names: bool = Field(False, description="answer <view>__<feature> instead of <feature>")
    include_feature_view_version_metadata: bool = Field(False, description="list the views that were read")


class LookupSchema(TypedDict):
    """The JSON Schemas of a lookup: of a request for all its features, and of the answer."""

    name: str
    request: dict[str, Any]
    answer: dict[str, Any]


class FeatureVector(TypedDict):
    """One column: a value, its status and its event time per entity, in the order of the request."""

    values: list[JsonValue]
    statuses: list[Status]
    event_timestamps: list[str]


class ViewName(TypedDict):
    """A view that was read."""

    name: str


class FeatureNames(TypedDict):
    """The names of the columns: the join keys first, then the features in the order of the request."""

    feature_names: list[str]
    feature_view_metadata: NotRequired[list[ViewName]]


class ResponseInfo(TypedDict):
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


class ResponseMetadata(ResponseInfo):
    """What Feast's form has no room for; a value that is not named here is of its first rung."""

    fallbacks: list[Fallback]


class FeaturesResponse(TypedDict):
    """Feast's answer: one vector per name."""

    metadata: FeatureNames
    results: list[FeatureVector]
    rapport: ResponseMetadata

"""The forms of a score: which entities, and the score with every value that it was made of."""

from typing import NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from serving.forms.base import Body, Entities, JsonValue, Name
from serving.forms.features import ResponseInfo, Rung, Status


class ScoreRequest(Body):
    """Entities to score: one as ``entity``, or many under the join key of the model."""

    entity: Name | None = Field(None, description="one id")
    entities: Entities | None = Field(None, description="the model's join key to ids")


class FeatureValue(TypedDict):
    """A feature as it was served: status of the first rung, the rung it is of, and the reason if that is another.

    A default has neither event time nor age.
    """

    value: JsonValue
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


class ScoreResponse(ResponseInfo):
    """The scores of a model, and which model exactly."""

    model: str
    version: str
    digest: str
    entity: str
    results: list[Score]

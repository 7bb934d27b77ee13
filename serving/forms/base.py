"""What the forms of requests have in common: names, lists of ids, and limits."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

MAX_BODY_BYTES = 1_000_000
MAX_ENTITIES = 1000
MAX_FEATURES = 500
MAX_NAME = 256
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Ids = Annotated[list[Name], Field(min_length=1, max_length=MAX_ENTITIES)]
Entities = Annotated[dict[Name, Ids], Field(min_length=1, max_length=16)]
JsonValue = str | int | float | bool | None


# Beside ids stand the inputs of a request, as in Feast: what each may be depends on what it is, so it is checked later.
Scalar = Annotated[Any, WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]
Scalars = Annotated[list[Scalar], Field(min_length=1, max_length=MAX_ENTITIES)]
Columns = Annotated[dict[Name, Scalars], Field(min_length=1, max_length=16)]


class Body(BaseModel):
    """A request: nothing is converted, and a key that nothing reads is refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

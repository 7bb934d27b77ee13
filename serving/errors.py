"""What a request can have wrong, by cause."""

from rapport_feast.errors import Rejected
from serving.forms.base import MAX_BODY_BYTES


class MalformedBody(Rejected):
    """A body that is no JSON object."""


class BodyTooLarge(Rejected):
    """A body beyond the limit."""

    def __init__(self) -> None:
        super().__init__("body", f"at most {MAX_BODY_BYTES} bytes", "more")


class UnknownName(Rejected):
    """A name that stands for nothing here: a feature, a view, a model."""

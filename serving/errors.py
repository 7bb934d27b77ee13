"""The errors of the service, one leaf class a cause; their bases say what a caller can do, and by that the HTTP status.

``Rejected``: ``MalformedBody`` 400; ``UnknownName`` with ``UnknownFeature``, ``UnknownView``, ``UnknownModel``,
``UnknownEntity``, ``UnknownSource`` and ``UnknownConversation`` 404; ``BodyTooLarge`` 413; any other 422.
``Transient``, all 503: ``ServiceStarting``, ``ServiceClosing``, ``ViewsNotLoaded``, ``OnlineStoreNotJoined``,
``ModelNotServed``, ``Overloaded``, ``DeadlineExceeded``, ``SpoolFull``, ``SpoolUnusable``.
"""

from rapport_feast.errors import Rejected, Transient
from serving.forms.base import MAX_BODY_BYTES


class MalformedBody(Rejected):
    """A body that is no JSON object."""


class BodyTooLarge(Rejected):
    """A body beyond the limit."""

    def __init__(self) -> None:
        super().__init__("body", f"at most {MAX_BODY_BYTES} bytes", "more")


class UnknownName(Rejected):
    """A name that stands for nothing here."""


class UnknownView(UnknownName):
    """No view or group of this name is published."""


class UnknownFeature(UnknownName):
    """The view or request has no such feature."""


class UnknownModel(UnknownName):
    """No champion of this name is served."""


class UnknownEntity(UnknownName):
    """No view has this join key, and no request this input."""


class UnknownSource(UnknownName):
    """The company streams no source of this name."""


class UnknownConversation(UnknownName):
    """There is no such conversation, or it has expired."""


class ServiceStarting(Transient):
    """What the request needs is still being loaded or joined."""


class ViewsNotLoaded(Transient):
    """The published views are not read yet, or cannot be."""


class OnlineStoreNotJoined(Transient):
    """The online store is not joined yet, or cannot be."""


class ServiceClosing(Transient):
    """The service no longer takes what was sent."""


class ModelNotServed(Transient):
    """A champion was published, but refused when it was loaded."""


class Overloaded(Transient):
    """More waits than the service holds."""


class DeadlineExceeded(Transient):
    """What was asked for took longer than it may."""


class SpoolFull(Transient):
    """The log is away, and the spool holds all that it may."""


class SpoolUnusable(Transient):
    """The log is away, and the spool's file cannot be read or written."""

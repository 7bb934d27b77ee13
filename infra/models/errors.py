"""What can be wrong with a published model or at the registry: one class per cause, under what a caller can do."""

from rapport_feast.errors import Rejected, Terminal, Transient


class ModelMalformed(Rejected):
    """A champion file, a manifest or a model file is not in the form that training writes."""


class ModelUnreadable(Terminal):
    """A file of a published version is missing, or is no file of its own folder."""


class DigestDiffers(Terminal):
    """A file is not the one that was published."""


class WrongVersion(Terminal):
    """A folder holds another model or another version than it is called."""


class VersionExists(Terminal):
    """A version of that number is published already, and a published version never changes."""


class NotRegistered(Rejected):
    """MLflow knows no such run, model or version."""


class RegistryUnavailable(Transient):
    """MLflow's database is locked or does not answer."""


class RegistryRefused(Terminal):
    """MLflow refuses what was asked of it, for a reason that no retry mends."""

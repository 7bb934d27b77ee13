"""Words that more than one contract or room uses."""

PURPOSES = ("service", "personalisation", "marketing", "research")
"""What data may be used for: the words of ``consents``, and of every feature group."""


LINKS = ("linked", "unlinked")
CHANNELS = ("chat", "email", "call", "social", "review", "web", "app", "shop")

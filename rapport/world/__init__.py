"""The simulated company: a seeded outside world whose hidden truth only tests may read."""

from rapport.world.run import Manifest, ensure, generate
from rapport.world.settings import WorldSettings, read_settings

__all__ = ["Manifest", "WorldSettings", "ensure", "generate", "read_settings"]

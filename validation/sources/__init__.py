"""The outside world: adapters that read its records as text, and what has arrived of it."""

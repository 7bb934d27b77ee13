"""The version of a definition: a hash of everything in it that changes values."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

# Part of every version: raised when the compiler comes to mean something else by the same words.
SEMANTICS = 2


# Documentation, or what is served in place of a value: neither changes a value.
PROSE = frozenset({"meaning", "default", "expect"})


def version_hash(content: Any) -> str:
    """Return the version of what changes values, JSON-able: 8 hex digits."""
    return hashlib.sha256(json.dumps([SEMANTICS, content], sort_keys=True).encode()).hexdigest()[:8]


def as_data(value: Any) -> Any:
    """Return a definition as JSON-able values, without its prose."""
    if is_dataclass(value):
        return {f.name: as_data(getattr(value, f.name)) for f in fields(value) if f.name not in PROSE}
    if isinstance(value, Mapping):
        return {key: as_data(item) for key, item in value.items()}
    return [as_data(item) for item in value] if isinstance(value, tuple) else value

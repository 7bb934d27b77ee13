"""The digest of what decides a model or a verdict: a step whose inputs are unchanged has nothing to do."""

import hashlib
import json
from pathlib import Path
from typing import Any

import infra.models
from infra.state_files import digest_of


def inputs_digest(*parts: Any) -> str:
    """Return a digest of values that JSON can hold, and of the code that makes and scores models."""
    folders = (Path(__file__).parent, *map(Path, infra.models.__path__))
    code = [digest_of(path) for folder in folders for path in sorted(folder.rglob("*.py"))]
    return hashlib.sha256(json.dumps([*parts, code]).encode()).hexdigest()
